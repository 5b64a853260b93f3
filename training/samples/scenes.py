"""Write down what the sample recordings say and sound like: the script that ``training.samples.make`` performs.

Every line is one that training never hears: a filling of a held-out template, a held-out filling of another, or a
string of digits. No voice here is one of training's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EventKind = Literal["bell", "alarm", "glass"]


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng, as ``man`` or ``woman``; ``channel`` is None where the recording has only one."""

    name: str
    voice: str
    sex: Literal["man", "woman"]
    emotion: Literal["neutral", "happy", "sad", "angry"] = "neutral"
    channel: int | None = None


@dataclass(frozen=True)
class Say:
    """A line of speech, ``gap_ms`` after the end of what came before; a negative gap talks into it."""

    speaker: Speaker
    text: str
    gap_ms: int = 600


@dataclass(frozen=True)
class Play:
    """A sound that takes its turn like a line of speech."""

    kind: EventKind
    gap_ms: int = 200
    dbfs: float = -24.0
    channel: int | None = None


@dataclass(frozen=True)
class Encoding:
    """How a recording is written; ``bit_rate`` is None where nothing is lost."""

    file: str
    codec: str
    sampling_rate: int
    channels: int = 1
    bit_rate: int | None = None


@dataclass(frozen=True)
class Scene:
    """A recording of at least ``seconds``; ``ground`` sounds from start to end, under everything."""

    name: str
    title: str
    encoding: Encoding
    turns: tuple[Say | Play, ...]
    split: bool = False
    ground: Literal["rain"] | None = None
    ground_dbfs: float = -33.0
    seconds: float = 0.0


ANNA = Speaker("Anna", "en-gb-x-rp+f2", "woman", "sad")
STATION = Speaker("station", "en-us+f4", "woman", "happy")
TOM = Speaker("Tom", "en-us+m3", "man", "angry")
AGENT = Speaker("agent", "en-us+f2", "woman", channel=0)
CALLER = Speaker("caller", "en-gb-x-rp+m7", "man", channel=1)
GUIDE = Speaker("guide", "en-gb-x-rp+m1", "man")

VOICEMAIL = Scene(
    name="voicemail",
    title="A sad message on an answering machine",
    encoding=Encoding("voicemail.wav", "pcm_s16le", 8_000),
    turns=(
        Say(ANNA, "Hello Martin, your order is late.", 250),
        Say(ANNA, "Sorry, I can not come tomorrow."),
        Say(ANNA, "My number is five zero eight."),
        Say(ANNA, "Please call me back Monday."),
        Say(ANNA, "Thank you and goodbye.", 700),
    ),
)

NOTICE = Scene(
    name="notice",
    title="A happy announcement at a station, and the alarm of the doors",
    encoding=Encoding("notice.flac", "flac", 16_000),
    turns=(
        Say(STATION, "The train to the library is ready.", 250),
        Say(STATION, "The number is four seven zero six.", 700),
        Say(STATION, "The rain will stop Friday.", 700),
        Say(STATION, "We come back tomorrow.", 700),
        Play("alarm"),
    ),
)

WEATHER = Scene(
    name="weather",
    title="Rain and a bell, and nobody speaks",
    encoding=Encoding("weather.opus", "libopus", 48_000, channels=2, bit_rate=48_000),
    ground="rain",
    ground_dbfs=-27.0,
    seconds=11.0,
    turns=(
        Play("bell", 3_000, -18.0, channel=0),
        Play("bell", 2_000, -18.0, channel=1),
    ),
)

KITCHEN = Scene(
    name="kitchen",
    title="An angry man while it rains, and breaking glass",
    encoding=Encoding("kitchen.mp3", "libmp3lame", 44_100, channels=2, bit_rate=96_000),
    ground="rain",
    turns=(
        Say(TOM, "Turn the light on please.", 300),
        Say(TOM, "I will wait at the window."),
        Say(TOM, "Is my book at the station?"),
        Say(TOM, "No, thank you.", 500),
        Play("glass", 300),
    ),
)

CALL = Scene(
    name="call",
    title="A telephone call, one voice per channel",
    encoding=Encoding("call.m4a", "aac", 44_100, channels=2, bit_rate=80_000),
    split=True,
    turns=(
        Say(AGENT, "Hello Martin, your order is ready.", 300),
        Say(CALLER, "Is my book at the library?", 400),
        Say(AGENT, "Your order number is six seven zero.", 400),
        Say(CALLER, "Can I call you back today?", 400),
        Say(AGENT, "Sorry, I can not come today.", 400),
        Say(CALLER, "Please call me back Sunday.", 400),
        Say(AGENT, "I will call you Wednesday.", 400),
        Say(CALLER, "No, thank you.", -250),
        Say(AGENT, "We come back tomorrow.", 400),
        Say(CALLER, "I will wait at the door.", 400),
        Say(AGENT, "Thank you and goodbye.", 400),
    ),
)

TOUR = Scene(
    name="tour",
    title="A man at a station, for more than two minutes",
    encoding=Encoding("tour.ogg", "libopus", 48_000, bit_rate=32_000),
    turns=(
        Say(GUIDE, "Hello Anna, your order is ready.", 300),
        Say(GUIDE, "The train to the station is late."),
        Say(GUIDE, "The number is five one nine eight."),
        Say(GUIDE, "I will wait at the door.", 800),
        Say(GUIDE, "Sorry, I can not come Sunday."),
        Say(GUIDE, "Can I call you back Monday?"),
        Say(GUIDE, "My number is three two four.", 900),
        Say(GUIDE, "Please call me back Sunday."),
        Say(GUIDE, "Is my book at the library?"),
        Say(GUIDE, "Your order number is four eight two.", 1_000),
        Say(GUIDE, "Turn the light on please."),
        Say(GUIDE, "The window is late."),
        Say(GUIDE, "Seven two nine.", 800),
        Say(GUIDE, "The train to the library is broken."),
        Say(GUIDE, "Hello Martin, your order is broken."),
        Say(GUIDE, "Can I call you back Wednesday?", 900),
        Say(GUIDE, "Sorry, I can not come Friday."),
        Say(GUIDE, "My number is one five nine."),
        Say(GUIDE, "No, thank you."),
        Say(GUIDE, "The number is two eight nine five.", 1_000),
        Say(GUIDE, "We come back tomorrow."),
        Say(GUIDE, "It is twenty one now."),
        Say(GUIDE, "Hello Anna, your order is late.", 800),
        Say(GUIDE, "Your order number is nine five four."),
        Say(GUIDE, "Is my book at the station?"),
        Say(GUIDE, "I will wait at the window.", 900),
        Say(GUIDE, "Four zero eight six."),
        Say(GUIDE, "The train to the station is ready."),
        Say(GUIDE, "Sorry, I can not come today."),
        Say(GUIDE, "Can I call you back tomorrow?", 1_000),
        Say(GUIDE, "My number is nine eight zero."),
        Say(GUIDE, "I will call you Wednesday."),
        Say(GUIDE, "The rain will stop Friday.", 800),
        Say(GUIDE, "The number is six two four nine."),
        Say(GUIDE, "Hello Martin, your order is ready."),
        Say(GUIDE, "The window is ready.", 900),
        Say(GUIDE, "The train to the library is late."),
        Say(GUIDE, "Your order number is one three two."),
        Say(GUIDE, "Please call me back Monday."),
        Say(GUIDE, "Sorry, I can not come Wednesday.", 1_000),
        Say(GUIDE, "Can I call you back Friday?"),
        Say(GUIDE, "Five three one."),
        Say(GUIDE, "My number is seven zero six.", 800),
        Say(GUIDE, "Hello Anna, your order is broken."),
        Say(GUIDE, "The train to the station is broken."),
        Say(GUIDE, "It is ten three now.", 900),
        Say(GUIDE, "Your order number is eight zero nine."),
        Say(GUIDE, "Can I call you back today?"),
        Say(GUIDE, "The number is eight three six seven.", 1_000),
        Say(GUIDE, "Sorry, I can not come Monday."),
        Say(GUIDE, "The train to the library is ready."),
        Say(GUIDE, "My number is five one six.", 800),
        Say(GUIDE, "Hello Martin, your order is late."),
        Say(GUIDE, "Thank you and goodbye.", 900),
    ),
)

SCENES = (VOICEMAIL, NOTICE, WEATHER, KITCHEN, CALL, TOUR)
