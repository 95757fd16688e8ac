"""What MkDocs calls (mkdocs.yml, hooks): pages and navigation before a build, directives of the general pages."""

import importlib.util
import logging
import sys

from lessons.book import reference
from lessons.book.pages import contents, write_pages
from lessons.book.recording import record, stale
from lessons.book.text import PARTS, BookError, expand, find_lessons

log = logging.getLogger("mkdocs.plugins.book")


# ---------------------------------------------------------------- MkDocs calls these (mkdocs.yml, hooks)
def on_config(config):
    """Write the pages and lay out the navigation; `mkdocs serve` first runs changed lessons where torch is there."""
    if "serve" in sys.argv and importlib.util.find_spec("torch"):
        for lesson in find_lessons():
            if reasons := stale(lesson):
                log.info(f"running {lesson.script} ({', '.join(reasons[:3])})")
                try:
                    record(lesson)
                except BookError as error:
                    log.warning(str(error))
    pages, troubles = write_pages()
    for trouble in troubles:
        log.warning(trouble)
    config["nav"] = reference.navigation(pages, {part: f"{part[0]} {PARTS[part][0]}" for part in pages})
    return config


def on_page_markdown(markdown, page, config, files):
    """Expand the directives of the general pages (lessons have theirs written out), append the glossary."""
    here = page.file.src_uri
    if not here.startswith("lessons/"):
        more = {"lessons": lambda rest, body: contents(here), **reference.directives()}
        try:
            markdown = expand(markdown, here, directives=more)
        except BookError as error:
            log.warning(str(error))
    return markdown if here == "glossary.md" else markdown + "\n\n" + reference.abbreviations()


def on_page_content(html, page, config, files):
    return reference.first_mentions(html)
