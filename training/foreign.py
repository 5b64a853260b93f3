"""Hold what is said in other languages, of which the mini model only tells which one it hears."""

from __future__ import annotations

import numpy as np

SENTENCES: dict[str, tuple[str, ...]] = {
    "de": (
        "guten morgen wie geht es ihnen",
        "der zug nach berlin hat heute zehn minuten verspätung",
        "ich möchte bitte eine tasse kaffee",
        "wir haben das fenster und die tür geschlossen",
        "morgen wird das wetter wieder schön",
        "können sie mir sagen wie spät es ist",
        "das buch liegt auf dem tisch in der küche",
        "meine schwester wohnt seit drei jahren in hamburg",
    ),
    "fr": (
        "bonjour comment allez vous aujourd'hui",
        "le train pour paris part dans dix minutes",
        "je voudrais une tasse de café s'il vous plaît",
        "nous avons fermé la fenêtre et la porte",
        "demain il fera beau dans toute la région",
        "pouvez vous me dire quelle heure il est",
        "le livre est sur la table de la cuisine",
        "ma sœur habite à lyon depuis trois ans",
    ),
    "es": (
        "buenos días cómo está usted",
        "el tren para madrid sale en diez minutos",
        "quisiera una taza de café por favor",
        "hemos cerrado la ventana y la puerta",
        "mañana hará buen tiempo en todo el país",
        "puede decirme qué hora es",
        "el libro está sobre la mesa de la cocina",
        "mi hermana vive en sevilla desde hace tres años",
    ),
    "it": (
        "buongiorno come sta oggi",
        "il treno per roma parte tra dieci minuti",
        "vorrei una tazza di caffè per favore",
        "abbiamo chiuso la finestra e la porta",
        "domani farà bel tempo in tutta la regione",
        "mi può dire che ore sono",
        "il libro è sul tavolo della cucina",
        "mia sorella abita a milano da tre anni",
    ),
    "zh": (
        "你好今天天气很好",
        "去北京的火车十分钟以后开",
        "请给我一杯咖啡谢谢",
        "我们已经关上了窗户和门",
        "明天会下雨请带上雨伞",
        "请问现在几点了",
        "那本书在厨房的桌子上",
        "我妹妹在上海住了三年",
    ),
}
"""Sentences by language; the last two of each are for evaluation."""

WORDS: dict[str, str] = {
    "de": "ja nein vielleicht danke entschuldigung straße schnell langsam heute gestern wir ihr sie nicht auch immer"
    " zwischen freundlich arbeiten schreiben kaufen brauchen kinder mädchen wohnung zeitung schlüssel frühstück"
    " eins zwei drei vier fünf sechs sieben acht neun zehn zwanzig hundert deutschland köln wichtig natürlich",
    "fr": "oui non peut-être merci pardon rue vite lentement hier nous vous ils toujours jamais entre travailler"
    " écrire acheter besoin enfants fille appartement journal clé déjeuner beaucoup un deux trois quatre cinq six"
    " sept huit neuf dix vingt cent marseille heureux voiture jardin bientôt quelque chose pourquoi",
    "es": "sí no quizás gracias perdón calle rápido despacio ayer nosotros ellos siempre nunca entre trabajar"
    " escribir comprar necesito niños muchacha piso periódico llave desayuno mucho uno dos tres cuatro cinco seis"
    " siete ocho nueve diez veinte ciento barcelona feliz coche jardín pronto alguna porque entonces",
    "it": "sì no forse grazie scusi strada veloce piano ieri noi loro sempre mai fra lavorare scrivere comprare"
    " bisogno bambini ragazza appartamento giornale chiave colazione molto uno due tre quattro cinque sei sette otto"
    " nove dieci venti cento napoli felice macchina giardino presto qualche perché allora",
    "zh": "是的 不是 也许 谢谢 对不起 马路 很快 慢慢 昨天 我们 他们 总是 从来 工作 写字 买东西 需要 孩子 女孩 公寓"
    " 报纸 钥匙 早饭 很多 一 二 三 四 五 六 七 八 九 十 二十 一百 广州 高兴 汽车 花园 马上 为什么 所以",
}
"""More words of these languages: strings of them teach how a language sounds, where a few sentences do not."""

HELD_OUT = 2  # sentences of each
VOICES: dict[str, str] = {"de": "de", "fr": "fr", "es": "es", "it": "it", "zh": "cmn"}
"""espeak-ng's voice of each."""


def draw_sentence(language: str, chance: np.random.Generator, *, held_out: bool) -> str:
    """Draw a sentence of another language; for training, more often a string of its words than a whole sentence."""
    sentences = SENTENCES[language]
    cut = len(sentences) - HELD_OUT
    if held_out:
        return str(chance.choice(sentences[cut:]))
    if chance.random() < 0.35:
        return str(chance.choice(sentences[:cut]))
    known = [*WORDS[language].split(), *(word for line in sentences[:cut] for word in line.split())]
    words = chance.choice(known, int(chance.integers(3, 8)))
    return ("" if language == "zh" else " ").join(words)
