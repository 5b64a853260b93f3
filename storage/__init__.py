"""Keep objects behind one protocol, in S3 or in a folder; boto3 is imported only when an S3 URI is used."""

from storage.errors import (
    InputAccessDenied,
    InputArchived,
    InputChanged,
    InputNotFound,
    InputWrongRegion,
    InvalidRange,
    InvalidUri,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.folder import FolderStore
from storage.own import OwnStorage
from storage.router import StoreRouter, open_store
from storage.s3_options import S3Options
from storage.store import BLOCK_BYTES, ObjectInfo, ObjectStore, ObjectWriter
from storage.uris import folder_uri, join

__all__ = [
    "BLOCK_BYTES",
    "FolderStore",
    "InputAccessDenied",
    "InputArchived",
    "InputChanged",
    "InputNotFound",
    "InputWrongRegion",
    "InvalidRange",
    "InvalidUri",
    "ObjectInfo",
    "ObjectStore",
    "ObjectWriter",
    "OwnStorage",
    "S3Options",
    "StorageError",
    "StorageFull",
    "StorageMisconfigured",
    "StorageUnavailable",
    "StoreRouter",
    "folder_uri",
    "join",
    "open_store",
]
