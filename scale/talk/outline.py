"""The outline of a talk, without drawing it."""

from scale.talk.plan import OwnSlide, Plan
from scale.talk.prose import headline
from scale.viz.words import Language


def outline(plan: Plan, lang: Language) -> str:
    """A line a slide: number, key, title, what feeds it.

    A title that depends on what a study found is told with its possibilities; numbers stand as
    `{name}`.
    """
    titles = [s.own.title if isinstance(s, OwnSlide) else headline(s.key, lang) for s in plan]
    width = max(len(slide.key) for slide in plan)
    lines = [
        f"{number:>3}  {slide.key:<{width}}  {title}  ({slide.feeds})"
        for number, (slide, title) in enumerate(zip(plan, titles, strict=True), start=1)
    ]
    return "\n".join(lines)
