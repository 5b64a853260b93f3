"""Write down what the sample recordings say and sound like: the script that ``samples.make`` performs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SoundKind = Literal["rain", "bell", "alarm", "glass"]


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng; ``channel`` is None where the recording has only one."""

    name: str
    voice: str
    words_per_minute: int = 150
    pitch: int = 50
    channel: int | None = None


@dataclass(frozen=True)
class Say:
    """A line of speech, ``gap_ms`` after the end of what came before; a negative gap talks into it."""

    speaker: Speaker
    text: str
    gap_ms: int = 350


@dataclass(frozen=True)
class Play:
    """A sound that takes its turn like a line of speech."""

    kind: SoundKind
    seconds: float
    gap_ms: int = 350
    gain_db: float = -12.0
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
    """A recording to be made. ``ground`` sounds from start to end, under everything."""

    name: str
    title: str
    encoding: Encoding
    turns: tuple[Say | Play, ...]
    caption: str
    language: str | None = None
    emotion: str | None = None
    split: bool = False
    ground: Play | None = None


ANNA = Speaker("Anna", "en-gb+f2", 145, 55)
TOM = Speaker("Tom", "en-us+m3", 150, 42)
LIN = Speaker("Lin", "cmn+f3", 200, 52)
AGENT = Speaker("agent", "en-gb+f4", 155, 58, channel=0)
CALLER = Speaker("caller", "en-us+m7", 150, 40, channel=1)
GUIDE = Speaker("guide", "en-gb+m1", 140, 45)

VOICEMAIL = Scene(
    name="voicemail",
    title="A message on an answering machine",
    encoding=Encoding("voicemail.wav", "pcm_s16le", 8_000),
    language="en",
    emotion="neutral",
    caption="A short tone sounds and then a woman leaves a message.",
    turns=(
        Play("bell", 1.0, gap_ms=200, gain_db=-16.0),
        Say(ANNA, "Hello, this is Anna from the library."),
        Say(
            ANNA, "The book that you asked for has arrived, and we keep it for you until Friday evening.", 500
        ),
        Say(ANNA, "Thank you, and goodbye."),
    ),
)

NOTICE = Scene(
    name="notice",
    title="An announcement in Mandarin",
    encoding=Encoding("notice.flac", "flac", 16_000),
    language="zh",
    emotion="neutral",
    caption="A woman makes an announcement in Chinese.",
    turns=(
        Say(LIN, "各位旅客请注意。", 300),
        Say(LIN, "开往北京的列车马上就要进站了。", 700),
        Say(LIN, "请您站在白色线后面等候。", 700),
    ),
)

WEATHER = Scene(
    name="weather",
    title="Rain and a bell, and nobody speaks",
    encoding=Encoding("weather.opus", "libopus", 48_000, channels=2, bit_rate=48_000),
    caption="Rain falls steadily while a bell rings twice.",
    ground=Play("rain", 20.0, gain_db=-18.0),
    turns=(
        Play("bell", 4.0, gap_ms=4_000, channel=0),
        Play("bell", 4.0, gap_ms=3_000, channel=1),
    ),
)

KITCHEN = Scene(
    name="kitchen",
    title="An alarm, breaking glass, and a man who regrets it",
    encoding=Encoding("kitchen.mp3", "libmp3lame", 44_100, channels=2, bit_rate=96_000),
    language="en",
    emotion="neutral",
    caption="An alarm beeps, glass breaks and a man speaks.",
    turns=(
        Play("alarm", 4.0, gap_ms=300),
        Say(TOM, "All right, all right, I can hear you.", 300),
        Play("glass", 1.5, gap_ms=500, gain_db=-8.0),
        Say(TOM, "Oh no. That was my favourite cup.", 800),
    ),
)

CALL = Scene(
    name="call",
    title="A telephone call, one voice per channel",
    encoding=Encoding("call.m4a", "aac", 44_100, channels=2, bit_rate=80_000),
    language="en",
    emotion="neutral",
    caption="A woman and a man talk on the telephone.",
    split=True,
    turns=(
        Say(AGENT, "Good morning, Harbour Bicycles, how can I help you?", 500),
        Say(
            CALLER, "Hello. I brought my bicycle in last week, and I wanted to ask whether it is ready.", 600
        ),
        Say(AGENT, "Let me look. What is the name, please?", 400),
        Say(CALLER, "Martin. Martin Green.", 500),
        Say(AGENT, "Yes, here it is. We have changed the chain and both brakes.", 900),
        Say(CALLER, "Wonderful.", -400),
        Say(AGENT, "The rear light still waits for a part. It should be here on Thursday.", 450),
        Say(CALLER, "That is fine. Could you ring me when it is done?", 500),
        Say(AGENT, "Of course. Is this the right number to call?", 400),
        Say(CALLER, "It is. Thank you very much, goodbye.", 400),
        Say(AGENT, "Goodbye.", 300),
    ),
)

TOUR = Scene(
    name="tour",
    title="A guided tour of a lighthouse, more than two minutes long",
    encoding=Encoding("tour.ogg", "libopus", 48_000, bit_rate=24_000),
    language="en",
    emotion="neutral",
    caption="A man gives a long talk, and a bell rings in between.",
    turns=(
        Say(GUIDE, "Welcome to the old lighthouse. Please come closer, so that everyone can hear me.", 500),
        Say(
            GUIDE,
            "The tower was built two hundred years ago, by sailors who had lost their ships on these rocks.",
        ),
        Say(GUIDE, "It is forty metres high, and there are one hundred and ninety steps to the top.", 600),
        Say(GUIDE, "Do not worry, we shall stop three times on the way.", 500),
        Say(GUIDE, "In the beginning the light was an open fire of wood and coal.", 1_200),
        Say(GUIDE, "Two men carried the fuel up the stairs every evening, and the ashes down every morning."),
        Say(
            GUIDE, "Later came lamps that burned oil, and a mirror that turned around them like a clock.", 500
        ),
        Play("bell", 3.0, gap_ms=700),
        Say(
            GUIDE,
            "That was the fog bell. It rings when the wind is strong, and today the wind is strong.",
            600,
        ),
        Say(GUIDE, "On a clear night the light could be seen from a ship thirty kilometres away.", 900),
        Say(GUIDE, "Each lighthouse has its own rhythm. Ours is two short flashes and one long one.", 500),
        Say(
            GUIDE,
            "A captain who knew the rhythm knew where he was, even when he could see nothing else.",
            400,
        ),
        Say(GUIDE, "The last keeper lived here with his wife, four children and a goat.", 1_300),
        Say(
            GUIDE,
            "He wrote down the weather every day for thirty one years, and he never missed a single day.",
        ),
        Say(
            GUIDE, "His books are in the room on your left. You may open them, but please do it gently.", 600
        ),
        Say(
            GUIDE, "Since that time the light has been electric, and nobody has to stay awake for it.", 1_000
        ),
        Say(
            GUIDE,
            "A small computer in the harbour watches it instead, and calls us when the lamp is broken.",
            400,
        ),
        Say(GUIDE, "That happens about once a year, and always, it seems, on a Sunday.", 500),
        Play("rain", 4.0, gap_ms=500, gain_db=-20.0),
        Say(GUIDE, "It has started to rain, so let us go inside before we climb.", 300),
        Say(
            GUIDE,
            "Hold on to the rail, mind your heads at the little door, and count the steps with me.",
            500,
        ),
        Say(GUIDE, "If you reach a different number, you are in good company. So does everyone.", 500),
    ),
)

SCENES = (VOICEMAIL, NOTICE, WEATHER, KITCHEN, CALL, TOUR)
