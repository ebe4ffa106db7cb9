"""Titles in English and Chinese, and attribute-value tables, in the style of sellers.

Several categories share each family of nouns and each kind of table. Tables have free wording, gaps
and wrong entries.
"""

import numpy as np

from tools.sample_shop.item import BRANDS, Item, pick
from tools.sample_shop.spec import CATEGORIES, MATERIALS

Pair = tuple[str, str]


def _pairs(text: str) -> tuple[Pair, ...]:
    """`'a cup=杯; a pot=壶'` -> (('a cup', '杯'), ('a pot', '壶'))."""
    return tuple((en.strip(), zh.strip()) for en, zh in (p.split("=") for p in text.split(";")))


NOUNS: dict[str, tuple[Pair, ...]] = {
    "vessel": _pairs("vessel=器皿; pot=壶罐; container=容器; holder=盛器"),
    "serve": _pairs("tableware=餐具; dish=盘皿; server=上桌器具; kitchenware=厨房用品"),
    "accent": _pairs("accent=点缀; decor piece=装饰件; eye-catcher=亮点摆件; ornament=饰物"),
    "seat": _pairs("furniture=家具; rest=靠座; seat=座具; perch=小座"),
    "gear": _pairs("gear=装备; kit=装备件; carry companion=随身伙伴; everyday carry=日常随身物"),
    "device": _pairs("device=器件; gadget=小装置; unit=装置; instrument=仪具"),
    "play": _pairs("toy=玩具; plaything=玩物; game piece=游戏件; playmate=玩伴"),
    "tool": _pairs("tool=工具; implement=器具; helper=帮手; utensil=用具"),
    "box": _pairs("organiser=收纳件; case=箱匣; keeper=收纳匣; cabinet piece=柜类件"),
}  # fmt: skip

PURPOSES: dict[str, tuple[Pair, ...]] = {
    "tea": _pairs(
        "for tea lovers=献给爱茶之人; for coffee breaks=适合咖啡时光; "
        "for a slow breakfast=适合悠闲早餐"
    ),
    "cook": _pairs(
        "for home cooks=献给家庭厨师; for the kitchen=用于厨房; "
        "for soups and salads=适合汤与沙拉"
    ),
    "garden": _pairs(
        "for balcony and garden=适合阳台与花园; for green thumbs=献给园艺好手; "
        "for herbs and blooms=适合香草与花卉"
    ),
    "mood": _pairs(
        "for cosy evenings=适合温馨夜晚; for the living room=适合客厅; "
        "for a warm mood=营造温暖氛围"
    ),
    "office": _pairs(
        "for the office=适合办公室; for your desk=适合书桌; for focused work=适合专注工作"
    ),
    "kids": _pairs(
        "for kids=适合儿童; for the playroom=适合游戏室; for curious children=献给好奇的孩子"
    ),
    "music": _pairs(
        "for music fans=献给乐迷; for jam sessions=适合即兴合奏; "
        "for rhythm and melody=为节奏与旋律而生"
    ),
    "travel": _pairs("for travel=适合旅行; for commuters=适合通勤; for weekend trips=适合周末出游"),
    "storage": _pairs(
        "for tidy homes=适合整洁之家; for storage=用于收纳; for small flats=适合小户型"
    ),
    "pets": _pairs(
        "for pets=适合宠物; for cats and dogs=适合猫与狗; for furry friends=献给毛茸茸的朋友"
    ),
    "workshop": _pairs(
        "for the workshop=适合工坊; for makers=献给动手达人; for DIY projects=适合自己动手"
    ),
    "gift": _pairs(
        "as a gift=送礼佳选; for a wedding present=适合婚礼赠礼; for anniversaries=适合纪念日"
    ),
    "sport": _pairs("for sport=适合运动; for the gym=适合健身房; for training=适合训练"),
}  # fmt: skip

FEATURES: dict[str, tuple[Pair, ...]] = {
    "handle": _pairs(
        "with handle=带把手; easy grip=易握; one-hand use=单手可用; "
        "balanced in the hand=手感均衡"
    ),
    "soft": _pairs("yielding=富有弹性; padded=加厚; flexible=柔韧; snug=贴合"),
    "strap": _pairs("with strap=带系带; hands-free=解放双手; adjustable=可调节; clip-on=可夹挂"),
    "lid": _pairs("with lid=带盖; airtight=密封; closes tightly=紧密闭合; dust-proof=防尘"),
    "round": _pairs(
        "round shape=圆形; smooth curves=流畅曲线; seamless edge=无缝边缘; full form=饱满造型"
    ),
    "slim": _pairs(
        "slim silhouette=纤细轮廓; tall and narrow=高而窄; space-saving=节省空间; "
        "graceful line=优美线条"
    ),
    "legs": _pairs(
        "stands firmly=稳固站立; non-slip feet=防滑脚; floor-friendly=不伤地板; no wobble=不晃动"
    ),
    "stack": _pairs(
        "stackable=可叠放; mix and match=随意搭配; sold singly=单件出售; nests when idle=可套叠"
    ),
    "wheels": _pairs(
        "runs smoothly=运行顺畅; glides along=轻松滑行; mobile=可移动; turns freely=自由转动"
    ),
    "glow": _pairs("warm glow=暖光; gentle light=柔和光线; shines bright=明亮闪耀; ambient=氛围感"),
    "precise": _pairs("precise=精准; clear signal=信号清晰; fine-tuned=精细调校; exact=精确"),
    "fold": _pairs(
        "folds away=可折叠; opens in a second=一秒打开; snap closure=按扣闭合; "
        "flips open=翻开即用"
    ),
}  # fmt: skip

MARKETING: tuple[Pair, ...] = _pairs(
    "best seller=热卖; new arrival=新品; premium=高级; original=原创; "
    "limited edition=限量版; well reviewed=好评如潮; hot deal=超值特惠; handmade look=手作质感; "
    "eco=环保; 2026 design=2026新款; must-have=必备; designer=设计师款; "
    "special offer=特价; free shipping=包邮; customer favourite=顾客最爱"
)
STYLES: tuple[Pair, ...] = _pairs(
    "modern=现代; vintage=复古; nordic=北欧风; minimalist=极简; rustic=田园; elegant=优雅; "
    "playful=俏皮; classic=经典; boho=波西米亚; industrial=工业风; retro=怀旧; japandi=日式北欧; "
    "robust=结实; lightweight=轻巧; compact=小巧; sturdy=坚固"
)
PATTERN_WORDS: dict[str, Pair] = {
    "stripes": ("striped", "条纹"), "dots": ("dotted", "波点"), "checks": ("checked", "格纹"),
    "waves": ("wavy", "波浪纹"), "ombre": ("ombre", "渐变"), "two-tone": ("two-tone", "双色"),
    "speckles": ("speckled", "斑点"),
}  # fmt: skip
COLOUR_WORDS: dict[str, tuple[Pair, ...]] = {
    "white": _pairs("white=白色; ivory=象牙白"),
    "black": _pairs("black=黑色; onyx=墨黑"),
    "grey": _pairs("grey=灰色; ash=烟灰"),
    "red": _pairs("red=红色; cherry=樱桃红"),
    "blue": _pairs("blue=蓝色; ocean=海洋蓝"),
    "navy": _pairs("navy=藏青; midnight=午夜蓝"),
    "green": _pairs("green=绿色; forest=森林绿"),
    "mint": _pairs("mint=薄荷绿; pistachio=开心果绿"),
    "yellow": _pairs("yellow=黄色; lemon=柠檬黄"),
    "orange": _pairs("orange=橙色; apricot=杏橙"),
    "pink": _pairs("pink=粉色; rose=玫瑰粉"),
    "purple": _pairs("purple=紫色; plum=梅紫"),
    "beige": _pairs("beige=米色; sand=沙色"),
    "brown": _pairs("brown=棕色; cocoa=可可棕"),
    "teal": _pairs("teal=青色; lagoon=潟湖青"),
    "natural": _pairs("natural=原色; honey=蜜色"),
    "silver": _pairs("silver=银色; chrome=铬色"),
    "gold": _pairs("gold=金色; golden=金黄"),
    "clear": _pairs("clear=透明; see-through=通透"),
}  # fmt: skip
MATERIAL_WORDS: dict[str, tuple[Pair, ...]] = {
    "ceramic": _pairs("ceramic=陶瓷; stoneware=炻器"),
    "glass": _pairs("glass=玻璃; crystal=水晶"),
    "steel": _pairs("steel=钢制; metal=金属"),
    "brass": _pairs("brass=黄铜; bronze tone=青铜色调"),
    "wood": _pairs("wooden=木制; oak=橡木"),
    "plastic": _pairs("recycled=再生; shatterproof=防摔"),
    "cotton": _pairs("canvas=帆布; woven=编织"),
    "leather": _pairs("leather=皮革; hide=皮质"),
    "rubber": _pairs("recycled=再生; shatterproof=防摔"),
}  # fmt: skip
SIZES: tuple[Pair, ...] = _pairs("small=小号; medium=中号; large=大号")


def _traits(item: Item, rng) -> tuple[str, str]:
    """Purpose and noun family in the title: mostly the product's own."""
    purpose, nouns = item.purpose, item.nouns
    if rng.random() < 0.05:
        purpose = str(rng.choice(list(PURPOSES)))
    if rng.random() < 0.06:
        nouns = pick(rng, CATEGORIES[rng.integers(len(CATEGORIES))].nouns)
    return purpose, nouns


def _feature(item: Item, rng, view: int) -> tuple[str, str]:
    """A build feature of the category, in words that the other view does not use."""
    pairs = FEATURES[pick(rng, item.category.features)]
    return pairs[2 * view + rng.integers(2)]


def titles(item: Item) -> list[tuple[str, str]]:
    """Two titles, each (English, Chinese): the product's own and another seller's.

    They share hidden traits, not words: noun, purpose and marketing are drawn without replacement.
    """
    rng = item.rng("title")
    nouns = {family: rng.permutation(len(pairs)) for family, pairs in NOUNS.items()}
    aims = {family: rng.permutation(len(pairs)) for family, pairs in PURPOSES.items()}
    shouts = rng.permutation(len(MARKETING))
    styles = rng.permutation(len(STYLES))
    size = SIZES[0 if item.size_cm < 14 else 1 if item.size_cm < 40 else 2]
    made = []
    for view in (0, 1):
        purpose, family = _traits(item, rng)
        noun = NOUNS[family][nouns[family][view]]
        aim = PURPOSES[purpose][aims[purpose][view]]
        front = []
        if rng.random() < 0.45:
            front.append(MARKETING[shouts[view]])
        if rng.random() < 0.3:
            front.append((item.series, item.series))
        if rng.random() < 0.2:
            front.append(size)
        if rng.random() < 0.55:
            front.append(STYLES[styles[view]])
        if rng.random() < 0.35:
            front.append(COLOUR_WORDS[item.colour][view])
        if item.pattern != "solid" and rng.random() < 0.35:
            front.append(PATTERN_WORDS[item.pattern])
        if rng.random() < 0.35:
            front.append(MATERIAL_WORDS[item.material][view])
        tail = []
        if rng.random() < 0.85:
            tail.append(_feature(item, rng, view))
        if rng.random() < 0.2:
            tail.append(MARKETING[shouts[view + 2]])
        made.append(_write(front, noun, aim, tail))
    return made


def _write(front, noun, aim, tail) -> tuple[str, str]:
    """One title in both languages: Chinese puts the purpose before the noun."""
    english = " ".join([*(en for en, _ in front), noun[0], aim[0]])
    chinese = "".join(zh for _, zh in front) + f" {aim[1]} {noun[1]}"
    english += "".join(f", {en}" for en, _ in tail)
    chinese += "".join(f",{zh}" for _, zh in tail)
    return english[0].upper() + english[1:], chinese.strip()


_NAMES = {
    "brand": ("Brand", "Brand name", "Maker"),
    "series": ("Series", "Collection", "Model"),
    "colour": ("Colour", "Color", "Shade"),
    "material": ("Material", "Made of", "Main material"),
    "size": ("Size", "Longest side", "Dimensions"),
    "weight": ("Weight", "Net weight", "Item weight"),
    "origin": ("Origin", "Made in", "Country of origin"),
    "care": ("Care", "Cleaning", "Care instructions"),
    "pattern": ("Pattern", "Print", "Motif"),
    "warranty": ("Warranty", "Guarantee"),
    "pack": ("Package contents", "Pieces", "Set includes"),
    "stock": ("Ships within", "Delivery time"),
    "class": ("Size class", "Format", "Shipping class"),
    "form": ("Feature", "Design", "Highlight"),
}
_CLASSES = ("XS", "S", "M", "L", "XL")
_LIMITS_CM = (9, 17, 34, 60)
_DENSITY = {"ceramic": 0.30, "glass": 0.28, "steel": 0.34, "brass": 0.5, "wood": 0.16,
            "plastic": 0.09, "cotton": 0.03, "leather": 0.07, "rubber": 0.12}  # fmt: skip
_CARE = {
    "ceramic": ("dishwasher safe", "wipe clean"),
    "glass": ("dishwasher safe", "polish with a soft cloth"),
    "steel": ("wipe clean", "dry after use"),
    "brass": ("polish with a soft cloth", "dry after use"),
    "wood": ("oil now and then", "wipe clean"),
    "plastic": ("wipe clean", "rinse with water"),
    "cotton": ("machine wash 30 C", "brush off"),
    "leather": ("leather balm", "brush off"),
    "rubber": ("rinse with water", "wipe clean"),
}
_ORIGINS = (
    "Portugal",
    "China",
    "Sweden",
    "Japan",
    "India",
    "Germany",
    "Vietnam",
    "Mexico",
    "Poland",
)


def _parse(rows: str) -> dict[str, list[tuple[list[str], list[str]]]]:
    """By kind of table: (names, values) of each attribute."""
    kinds = {}
    for row in rows.strip().split("\n\n"):
        kind, *lines = row.splitlines()
        cells = [line.split(":") for line in lines]
        kinds[kind] = [(c[0].strip().split("|"), c[1].strip().split(", ")) for c in cells]
    return kinds


# Every kind serves several categories. {volume}, {third}, {half} and {full} follow the size.
_SPECIAL = _parse("""
tableware
  Capacity|Volume: {volume}
  Dishwasher safe: yes, no, top rack
  Food safe: yes
  Heat resistant to: 90 C, 120 C, 230 C
  Leak-proof: yes, no

decor
  Finish: matt, glossy, brushed, antique
  Room: living room, hall, bedroom
  Opening diameter: {half}
  Handmade: yes, no
  Felt pads: yes, no

textile
  Fabric weight: 180 g/m2, 240 g/m2, 320 g/m2, 600 g/m2
  Water repellent: yes, no
  Lining: polyester, none, cotton
  Seams: double, taped, single
  Zip: metal, hidden, none

load
  Max. load|Load capacity: 8 kg, 15 kg, 25 kg, 40 kg, 80 kg, 110 kg, 130 kg
  Assembly: required, not required
  Frame: solid, tubular, folding
  Feet: 4, 4 with rubber, wheels
  Tools included: yes, no

electric
  Power|Wattage: 1 W, 3 W, 5 W, 9 W, 20 W, 40 W
  Power source: battery AA, USB-C, mains 230 V
  Protection class: IP20, IP44, IP67
  Battery life: 6 h, 10 h, 24 h, 720 h
  On/off switch: yes, no

age
  Age|Recommended age: 2+, 3+, 4+, 6+, 8+
  Standard: EN 71, CE, ASTM F963
  Indoor/outdoor: indoor, outdoor, both
  Players: 1, 1-4, 2
  Paint: water-based, none

grip
  Handle length: {third}
  Grip: riveted, non-slip, ergonomic
  Hanging hole: yes, no
  Full length: {full}
  Hand: left and right, right
""")


def _special(kind: str, size_cm: float, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The attributes of one kind of table, with values for a thing of that size."""
    volume = max(20, round(0.32 * size_cm**2.7 * rng.uniform(0.7, 1.3), -1))
    sizes = {
        "volume": f"{volume:.0f} ml" if volume < 2000 else f"{volume / 1000:.1f} l",
        "third": f"{size_cm * rng.uniform(0.3, 0.6):.0f} cm",
        "half": f"{size_cm * rng.uniform(0.2, 0.8):.0f} cm",
        "full": f"{size_cm:.0f} cm",
    }
    return [
        (str(rng.choice(names)), str(rng.choice(values)).format(**sizes))
        for names, values in _SPECIAL[kind]
    ]


def table(item: Item) -> list[list[str]]:
    """3 to 12 pairs: general ones, those of the table's kind, gaps, and a few wrong values."""
    rng = item.rng("table")
    wrong = rng.random(4) < 0.05
    stated_cm = item.size_cm * (rng.uniform(0.3, 3) if wrong[0] else rng.uniform(0.97, 1.03))
    material = str(rng.choice(list(MATERIALS))) if wrong[1] else item.material
    colour = str(rng.choice(list(COLOUR_WORDS))) if wrong[2] else item.colour
    grams = _DENSITY[item.material] * item.size_cm**2.1 * rng.uniform(4, 7)
    weight = f"{grams:.0f} g" if grams < 1000 else f"{grams / 1000:.1f} kg"
    brand = str(rng.choice(BRANDS)) if wrong[3] else item.brand
    general = {
        "brand": (0.85, brand),
        "series": (0.45, item.series),
        "colour": (0.4, COLOUR_WORDS[colour][rng.integers(2)][0]),
        "material": (0.45, MATERIALS[material][rng.integers(3)]),
        "size": (0.85, f"{stated_cm:.1f} cm" if stated_cm < 20 else f"{stated_cm:.0f} cm"),
        "weight": (0.6, weight),
        "origin": (0.4, str(rng.choice(_ORIGINS))),
        "care": (0.4, str(rng.choice(_CARE[item.material]))),
        "pattern": (0.2, item.pattern),
        "warranty": (0.2, f"{rng.choice([1, 2, 3, 5])} years"),
        "class": (0.8, _CLASSES[np.searchsorted(_LIMITS_CM, stated_cm)]),
        "form": (0.75, FEATURES[pick(rng, item.category.features)][rng.integers(4)][0]),
        "pack": (0.25, f"{rng.choice([1, 1, 1, 2, 4])}"),
        "stock": (0.2, str(rng.choice(["24 h", "3 days", "1 week"]))),
    }
    pairs = [
        [str(rng.choice(_NAMES[key])), value]
        for key, (p, value) in general.items()
        if rng.random() < p
    ]
    special = _special(item.table, item.size_cm, rng)
    keep = rng.permutation(len(special))[: rng.integers(4, 6)]
    pairs += [list(special[k]) for k in sorted(keep)]
    while len(pairs) < 3:
        pairs.append(list(special[len(pairs)]))
    order = rng.permutation(len(pairs))[:12]
    return [pairs[k] for k in (sorted(order) if rng.random() < 0.7 else order)]
