"""Words of the shop, English and Chinese; several categories share each family of words."""

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
