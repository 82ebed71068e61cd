"""A page as a reader and as a browser take it."""

import html.parser
import json

_VOID = {"meta", "br", "wbr"}


class PageReader(html.parser.HTMLParser):
    """Text outside scripts, attributes, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open_tags = []
        self.tags = []
        self.attributes = []
        self.words = []
        self.scripts = []
        self.feed(text)
        self.close()

    @property
    def text(self):
        """The visible text, with plain blanks."""
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self):
        return [value for name, value in self.attributes if name == "id"]

    def figures(self):
        """The figures that the page's script draws, by id of the element."""
        if not self.scripts:
            return {}
        script = self.scripts[-1].strip()
        start = len("const FIGURES = ")
        figures, _ = json.JSONDecoder().raw_decode(script[start:])
        return figures

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags and self.open_tags[-1] == tag, (
            tag,
            self.open_tags,
        )
        self.open_tags.pop()

    def handle_data(self, data):
        inside = self.open_tags[-1] if self.open_tags else ""
        if inside == "script":
            if data.strip():
                self.scripts.append(data)
        elif inside != "style":
            self.words.append(data)
