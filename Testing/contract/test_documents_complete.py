"""The documents are complete: options, settings and public names are explained, links and paths lead somewhere."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator

import pytest

import TumorSegLib as ts
from Testing.documents import PAGES, REPOSITORY, SPAN, blocks_of, headings_of, prose_of, text_of
from TumorSegLib.cli.parser import make_parser
from TumorSegLib.models.registry import BUNDLED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Commands within sentences and tables


def spans() -> Iterator[tuple[str, list[str]]]:
    """Page and words of each code span that is a command of this project; of model cards also of the indented lines."""
    cards = [str(path.relative_to(REPOSITORY)) for path in BUNDLED.glob("*/MODEL_CARD.md")]
    for page in [*PAGES, *cards]:
        for span in SPAN.findall(prose_of(page)) + re.findall(r"^ {4}(\S.*)", prose_of(page), re.MULTILINE):
            words = span.split()
            if words[0] == "tumorseg" or words[:3] == ["python", "-m", "training"]:
                yield page, words


def training_parser() -> argparse.ArgumentParser:
    from training.__main__ import _parser

    return _parser()


def sub_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_commands_in_sentences_exist_with_their_options() -> None:
    for page, words in spans():
        parser, rest = (make_parser(), words[1:]) if words[0] == "tumorseg" else (training_parser(), words[3:])
        while rest and rest[0] in sub_parsers(parser):
            parser, rest = sub_parsers(parser)[rest[0]], rest[1:]
        assert not sub_parsers(parser) or not rest or rest[0].startswith("--"), f"{page}: {' '.join(words)}"
        for option in (word for word in rest if word.startswith("--")):
            assert option in parser._option_string_actions, f"{page}: {' '.join(words)} has no {option}"


def options_of(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, str]]:
    """Command and option, of all sub-commands."""
    for sub, each in sub_parsers(parser).items():
        yield from options_of(each, f"{name} {sub}".strip())
    if not sub_parsers(parser):
        yield from ((name, option) for option in parser._option_string_actions if option.startswith("--"))


def sections_of(page: str) -> dict[str, str]:
    """Text of each section by its heading, from level 2 on."""
    parts = re.split(r"^##+ (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def test_each_option_of_tumorseg_is_explained_where_its_command_is() -> None:
    sections = sections_of("docs/cli.md")
    for command, option in options_of(make_parser()):
        if option not in ("--help", "--debug"):
            assert option in sections[command.split()[0]], f"docs/cli.md says nothing of {command} {option}"


# Links


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    file = REPOSITORY / page
    for picture, text, target in re.findall(r"(!?)\[([^]]*)\]\(([^)\s]+)\)", prose_of(page)):
        assert text, f"{page}: {target} has no text"
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (file.parent / path).resolve() if path else file
        assert found.exists(), f"{page}: {target}"
        assert not picture or found.is_file()
        if anchor:
            assert anchor in headings_of(str(found.relative_to(REPOSITORY))), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_text_exist(page: str) -> None:
    """Files and folders of the repository, by their path from its root; names of a user's files have no folder."""
    roots = {path.name for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for span in SPAN.findall(prose_of(page)):
        if re.fullmatch(r"[\w./*-]+", span) and "/" in span and span.partition("/")[0] in roots - {"demo"}:
            assert next(REPOSITORY.glob(span.rstrip("/")), None), f"{page}: {span}"


def test_the_layers_in_the_page_on_architecture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = [re.split(r" [|:] ", layer) for each in contracts if each["type"] == "layers" for layer in each["layers"]]
    block = next(block for block in blocks_of("docs/architecture.md") if block.language == "text")
    lines = [line.split() for line in block.text.splitlines() if line]
    assert [[word for word in line if word not in ("library", "module", "training")] for line in lines] == layers


def test_the_readme_is_short_and_leads_each_kind_of_user_to_one_page() -> None:
    assert len(text_of("README.md").splitlines()) <= 60
    rows = re.findall(r"^\| (?:a|an) .*\[(docs/\w+\.md)\]", text_of("README.md"), re.MULTILINE)
    assert rows == ["docs/slicer.md", "docs/python.md", "docs/cli.md", "docs/training.md"]


def test_each_public_name_is_in_the_page_on_python() -> None:
    spans = set(SPAN.findall(prose_of("docs/python.md")))
    assert set(ts.__all__) <= spans


def test_each_setting_and_option_is_in_the_page_on_training() -> None:
    from training.config.clicks import ClickSettings
    from training.config.finetune import FinetuneData, FinetuneOptimisation, ModelSettings
    from training.config.train import DataSettings, Optimisation
    from training.data.augment import Augmentation

    sections = DataSettings, Optimisation, ClickSettings, Augmentation
    tuned = ModelSettings, FinetuneData, FinetuneOptimisation
    spans = set(SPAN.findall(prose_of("docs/training.md")))
    assert {field.name for section in (*sections, *tuned) for field in dataclasses.fields(section)} <= spans
    text = text_of("docs/training.md")
    for command, option in options_of(training_parser()):
        assert command in text
        assert option in ("--help", "--debug") or option in text, f"docs/training.md says nothing of {option}"


def test_each_key_of_a_model_is_in_the_page_on_models() -> None:
    from TumorSegLib.models.spec import INPUTS

    spans = set(SPAN.findall(prose_of("docs/models.md")))
    assert {field.name for kind in (ts.ModelSpec, *INPUTS.values()) for field in dataclasses.fields(kind)} <= spans
    assert set(INPUTS) <= spans
