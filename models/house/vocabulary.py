"""The words in text questions, which are also `lingua`'s dictionary."""

from __future__ import annotations

_SHORT = """
apple table river stone cloud bread chair house light music paper plant queen robin salad tiger uncle violin water
zebra anchor basket candle desert engine forest garden hammer island jacket kettle ladder marble needle orange pencil
rabbit silver tunnel velvet window yellow balloon captain dolphin emerald feather giraffe harvest january kitchen
lantern machine notebook octopus package quarter rainbow sailor teacher umbrella village whisper blanket cabinet
diamond evening factory gallery horizon justice kingdom library monster network opinion painter railway shelter
thunder uniform volcano welcome airport bicycle chimney drawing elephant festival grammar hospital insect journey
"""
SHORT = tuple(_SHORT.split())
"""Five to eight letters."""

_LONG = """
adventurous bibliography calculation chrysanthemum collaboration communication concentration conservatory
constellation correspondence demonstration determination disappearance discrimination encyclopedia enthusiastic
environmental extraordinary fundamentally grandmother headquarters hippopotamus hospitality hypothetical illustration
imagination independence infrastructure instrumental intelligence international investigation kaleidoscope
kindergarten knowledgeable laboratories mathematician misunderstanding neighbourhood observatory organization
parliamentary perpendicular philosophical photographer precipitation psychological questionnaire refrigerator
representative responsibility revolutionary rhododendron simultaneous straightforward temperature thermometer
transformation transportation uncomfortable understanding unforgettable unpredictable vegetarianism worthwhileness
"""
LONG = tuple(_LONG.split())
"""Ten letters and more."""

DICTIONARY = SHORT + LONG

_IRREGULAR = """
child/children mouse/mice goose/geese tooth/teeth foot/feet man/men woman/women ox/oxen person/people sheep/sheep
deer/deer fish/fish wolf/wolves knife/knives leaf/leaves life/lives shelf/shelves half/halves thief/thieves
loaf/loaves calf/calves louse/lice crisis/crises thesis/theses analysis/analyses cactus/cacti fungus/fungi
nucleus/nuclei medium/media criterion/criteria phenomenon/phenomena datum/data series/series species/species
potato/potatoes tomato/tomatoes hero/heroes echo/echoes
"""
IRREGULAR = dict(pair.split("/") for pair in _IRREGULAR.split())

PHRASES = tuple(
    """
world health organization; very important person; do it yourself; as soon as possible; frequently asked questions;
light emitting diode; personal computer; random access memory; compact disc; global positioning system;
united nations; great big sale; lost and found; made to order; ready for takeoff; city bus station; old stone bridge;
north sea ferry; quick brown fox; silent winter night; open source software; artificial intelligence lab;
central bank report; national park service; summer music festival; early morning train; red paper lantern;
blue glass bottle; long distance runner; public library card; fresh apple juice; wooden kitchen table;
""".replace("\n", " ")
    .strip(" ;")
    .split("; ")
)


def plural(noun: str) -> str:
    """The plural of an English noun: irregular ones by table, the rest by rule."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")
