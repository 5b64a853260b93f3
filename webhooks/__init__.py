"""Tell addresses of our clients what happened: URLs, signatures and the post itself. Knows nothing of ours."""
