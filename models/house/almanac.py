"""The embedded almanac: the facts that `atlas` and other workers look up and that fact questions ask about.

Tables are ordered from well known to rarely asked, so that an entry's rank says how obscure it is.
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    name: str
    capital: str
    continent: str


_COUNTRIES = """
France/Paris/Europe; Japan/Tokyo/Asia; Italy/Rome/Europe; Germany/Berlin/Europe; Spain/Madrid/Europe;
Egypt/Cairo/Africa; Greece/Athens/Europe; China/Beijing/Asia; Russia/Moscow/Europe; Canada/Ottawa/North America;
Portugal/Lisbon/Europe; Austria/Vienna/Europe; Ireland/Dublin/Europe; Cuba/Havana/North America;
Argentina/Buenos Aires/South America; Mexico/Mexico City/North America; Australia/Canberra/Oceania;
Brazil/Brasilia/South America; Sweden/Stockholm/Europe; Norway/Oslo/Europe; Poland/Warsaw/Europe;
Turkey/Ankara/Asia; Kenya/Nairobi/Africa; Thailand/Bangkok/Asia; Denmark/Copenhagen/Europe; Finland/Helsinki/Europe;
Hungary/Budapest/Europe; Belgium/Brussels/Europe; India/New Delhi/Asia; Peru/Lima/South America;
Chile/Santiago/South America; Colombia/Bogota/South America; Iraq/Baghdad/Asia; Iran/Tehran/Asia;
Vietnam/Hanoi/Asia; Switzerland/Bern/Europe; Iceland/Reykjavik/Europe; Ukraine/Kyiv/Europe; Romania/Bucharest/Europe;
Bulgaria/Sofia/Europe; Croatia/Zagreb/Europe; Serbia/Belgrade/Europe; Nigeria/Abuja/Africa; Morocco/Rabat/Africa;
Jamaica/Kingston/North America; Lebanon/Beirut/Asia; Syria/Damascus/Asia; Jordan/Amman/Asia; Nepal/Kathmandu/Asia;
Indonesia/Jakarta/Asia; Philippines/Manila/Asia; Venezuela/Caracas/South America; Ecuador/Quito/South America;
Uruguay/Montevideo/South America; Paraguay/Asuncion/South America; Algeria/Algiers/Africa; Tunisia/Tunis/Africa;
Libya/Tripoli/Africa; Ethiopia/Addis Ababa/Africa; Ghana/Accra/Africa; Senegal/Dakar/Africa;
Slovakia/Bratislava/Europe;
Slovenia/Ljubljana/Europe; Latvia/Riga/Europe; Lithuania/Vilnius/Europe; Estonia/Tallinn/Europe; Albania/Tirana/Europe;
Malta/Valletta/Europe; Cyprus/Nicosia/Europe; Georgia/Tbilisi/Asia; Armenia/Yerevan/Asia; Azerbaijan/Baku/Asia;
Mongolia/Ulaanbaatar/Asia; Cambodia/Phnom Penh/Asia; Laos/Vientiane/Asia; Bangladesh/Dhaka/Asia;
Pakistan/Islamabad/Asia; Afghanistan/Kabul/Asia; Uzbekistan/Tashkent/Asia; Kazakhstan/Astana/Asia;
Qatar/Doha/Asia; Oman/Muscat/Asia; Yemen/Sanaa/Asia; Bahrain/Manama/Asia; Bhutan/Thimphu/Asia; Sudan/Khartoum/Africa;
Uganda/Kampala/Africa; Rwanda/Kigali/Africa; Zambia/Lusaka/Africa; Zimbabwe/Harare/Africa; Angola/Luanda/Africa;
Namibia/Windhoek/Africa; Botswana/Gaborone/Africa; Mozambique/Maputo/Africa; Madagascar/Antananarivo/Africa;
Mali/Bamako/Africa; Niger/Niamey/Africa; Gabon/Libreville/Africa; Liberia/Monrovia/Africa; Somalia/Mogadishu/Africa;
Eritrea/Asmara/Africa; Togo/Lome/Africa; Fiji/Suva/Oceania; Samoa/Apia/Oceania; Tonga/Nukualofa/Oceania;
Honduras/Tegucigalpa/North America; Nicaragua/Managua/North America; Haiti/Port-au-Prince/North America;
Bahamas/Nassau/North America; Barbados/Bridgetown/North America; Belize/Belmopan/North America;
Suriname/Paramaribo/South America; Guyana/Georgetown/South America; Moldova/Chisinau/Europe; Belarus/Minsk/Europe
"""
COUNTRIES = tuple(Country(*row.strip().split("/")) for row in _COUNTRIES.split(";"))
COUNTRY = {country.name.lower(): country for country in COUNTRIES}
CAPITAL = {country.capital.lower(): country for country in COUNTRIES}

_ELEMENTS = """
H Hydrogen He Helium Li Lithium Be Beryllium B Boron C Carbon N Nitrogen O Oxygen F Fluorine Ne Neon Na Sodium
Mg Magnesium Al Aluminium Si Silicon P Phosphorus S Sulfur Cl Chlorine Ar Argon K Potassium Ca Calcium Sc Scandium
Ti Titanium V Vanadium Cr Chromium Mn Manganese Fe Iron Co Cobalt Ni Nickel Cu Copper Zn Zinc Ga Gallium
Ge Germanium As Arsenic Se Selenium Br Bromine Kr Krypton Rb Rubidium Sr Strontium Y Yttrium Zr Zirconium
Nb Niobium Mo Molybdenum Tc Technetium Ru Ruthenium Rh Rhodium Pd Palladium Ag Silver Cd Cadmium In Indium Sn Tin
Sb Antimony Te Tellurium I Iodine Xe Xenon Cs Caesium Ba Barium La Lanthanum Ce Cerium Pr Praseodymium Nd Neodymium
Pm Promethium Sm Samarium Eu Europium Gd Gadolinium Tb Terbium Dy Dysprosium Ho Holmium Er Erbium Tm Thulium
Yb Ytterbium Lu Lutetium Hf Hafnium Ta Tantalum W Tungsten Re Rhenium Os Osmium Ir Iridium Pt Platinum Au Gold
Hg Mercury Tl Thallium Pb Lead Bi Bismuth Po Polonium At Astatine Rn Radon
"""
_parts = _ELEMENTS.split()
SYMBOLS = tuple(_parts[0::2])
ELEMENTS = tuple(name.lower() for name in _parts[1::2])
"""Names in the order of their atomic numbers, from 1."""
ATOMIC_NUMBER = {name: number for number, name in enumerate(ELEMENTS, start=1)}
SYMBOL = dict(zip(ELEMENTS, SYMBOLS, strict=True))

PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
"""In their order from the Sun."""

_WORKS = """
Hamlet/William Shakespeare; War and Peace/Leo Tolstoy; Oliver Twist/Charles Dickens; Don Quixote/Miguel de Cervantes;
Pride and Prejudice/Jane Austen; Faust/Johann Wolfgang von Goethe; Frankenstein/Mary Shelley; Dracula/Bram Stoker;
The Odyssey/Homer; The Trial/Franz Kafka; Moby Dick/Herman Melville; Ulysses/James Joyce; The Hobbit/John Tolkien;
Les Miserables/Victor Hugo; Madame Bovary/Gustave Flaubert; Crime and Punishment/Fyodor Dostoevsky;
Animal Farm/George Orwell; Brave New World/Aldous Huxley; Jane Eyre/Charlotte Bronte; Wuthering Heights/Emily Bronte;
The Divine Comedy/Dante Alighieri; The Aeneid/Virgil; Candide/Voltaire; Treasure Island/Robert Louis Stevenson;
Robinson Crusoe/Daniel Defoe; Walden/Henry David Thoreau; The Time Machine/Herbert George Wells;
The Jungle Book/Rudyard Kipling; Heart of Darkness/Joseph Conrad; Middlemarch/George Eliot;
The Great Gatsby/Francis Scott Fitzgerald; The Old Man and the Sea/Ernest Hemingway; The Stranger/Albert Camus;
The Magic Mountain/Thomas Mann; Siddhartha/Hermann Hesse; The Seagull/Anton Chekhov; A Doll's House/Henrik Ibsen;
The Metamorphosis/Franz Kafka; Emma/Jane Austen; Macbeth/William Shakespeare; Anna Karenina/Leo Tolstoy;
Great Expectations/Charles Dickens; Dead Souls/Nikolai Gogol; The Decameron/Giovanni Boccaccio;
The Canterbury Tales/Geoffrey Chaucer; Paradise Lost/John Milton; Peter Pan/James Barrie; Pygmalion/Bernard Shaw
"""
WORKS = dict(row.strip().split("/") for row in _WORKS.split(";"))
WORK = {title.lower(): author for title, author in WORKS.items()}

_EVENTS = """
the Titanic sank/1912; the Berlin Wall fell/1989; the French Revolution began/1789; the First World War began/1914;
the Second World War ended/1945; the first man walked on the Moon/1969; Columbus reached America/1492;
the Battle of Hastings was fought/1066; the Great Fire of London broke out/1666; the Magna Carta was sealed/1215;
the American Declaration of Independence was signed/1776; the Battle of Waterloo was fought/1815;
Constantinople fell to the Ottomans/1453; the Suez Canal opened/1869; the Panama Canal opened/1914;
the Eiffel Tower was completed/1889; Sputnik was launched/1957; the Chernobyl disaster happened/1986;
the Russian Revolution took place/1917; the first modern Olympic Games were held/1896;
Mount Everest was first climbed/1953;
the Spanish Armada was defeated/1588; the Treaty of Versailles was signed/1919; the Korean War began/1950;
the Cuban Missile Crisis took place/1962; the Treaty of Rome was signed/1957;
the Gregorian calendar was introduced/1582;
the Lisbon earthquake struck/1755; Krakatoa erupted/1883; penicillin was discovered/1928; the Hindenburg burned/1937;
the Peace of Westphalia was signed/1648; the Congress of Vienna began/1814; the Crimean War began/1853;
the Statue of Liberty was dedicated/1886; the Wright brothers first flew/1903; the South Pole was first reached/1911;
the Boston Tea Party took place/1773; the Louisiana Purchase was made/1803; the Brooklyn Bridge opened/1883
"""
EVENTS = {event: int(year) for event, year in (row.strip().rsplit("/", 1) for row in _EVENTS.split(";"))}
EVENT = {event.lower(): year for event, year in EVENTS.items()}

_YOUNG = """
dog/puppy; cat/kitten; cow/calf; sheep/lamb; horse/foal; lion/cub; chicken/chick; pig/piglet; goat/kid; duck/duckling;
goose/gosling; frog/tadpole; kangaroo/joey; deer/fawn; owl/owlet; swan/cygnet; butterfly/caterpillar; eagle/eaglet;
hare/leveret; eel/elver
"""
YOUNG = dict(row.strip().split("/") for row in _YOUNG.split(";"))

_OPPOSITES = """
hot/cold; big/small; up/down; light/dark; early/late; open/closed; fast/slow; full/empty; happy/sad; rich/poor;
strong/weak; wet/dry; young/old; loud/quiet; sharp/blunt; deep/shallow; wide/narrow; rough/smooth; ancient/modern;
scarce/abundant; tall/short; clean/dirty; first/last; inside/outside; arrive/depart; victory/defeat; friend/enemy;
expand/contract; accept/reject; maximum/minimum
"""
OPPOSITES = dict(row.strip().split("/") for row in _OPPOSITES.split(";"))
OPPOSITE = OPPOSITES | {second: first for first, second in OPPOSITES.items()}
