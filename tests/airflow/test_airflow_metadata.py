"""What Airflow is told of this provider, and what its own commands make of it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseOperatorLink
from airflow.triggers.base import BaseTrigger

from airflow_provider_kling_avatar import __version__
from airflow_provider_kling_avatar.connection_form import APIS, CONN_FIELDS, CONN_TYPE, UI_FIELD_BEHAVIOUR
from airflow_provider_kling_avatar.get_provider_info import get_provider_info
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.config import EXTRAS
from airflow_provider_kling_avatar.kling.dialects import DIALECTS

INFO = get_provider_info()
PACKAGE = "airflow-provider-kling-avatar"
HOOK = "airflow_provider_kling_avatar.hooks.kling_avatar.KlingAvatarHook"
LINK = "airflow_provider_kling_avatar.links.kling_avatar.KlingTaskLink"
OLD_FORM_ONLY = airflow_version.startswith(("3.0.", "3.1."))
"""These know only the form of Airflow 2, whose libraries a plain installation of theirs lacks."""
NOT_LISTED = (".simulator", ".kling.", ".base", ".decorators", ".lineage", ".gallery")
PACKAGES = {"hooks": BaseHook, "operators": BaseOperator, "sensors": BaseOperator, "triggers": BaseTrigger}


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def public_classes(module, base):
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


# ---------------------------------------------------------------------------------------------- data


def test_the_metadata_fits_this_airflows_schema():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text("utf-8"))

    jsonschema.validate(INFO, schema)


def test_airflow_finds_the_metadata_under_the_distributions_name():
    (entry,) = [e for e in entry_points(group="apache_airflow_provider") if e.dist.name == PACKAGE]

    assert entry.load() is get_provider_info
    assert INFO["package-name"] == entry.dist.name
    assert INFO["versions"][0] == __version__ == entry.dist.version


def test_airflow_links_to_the_documentation_at_the_address_of_the_project_file():
    """It reads it from the distribution, so that no second place of ours can disagree."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    if airflow_version.startswith("2."):
        from airflow.utils.docs import get_doc_url_for_provider

        linked = get_doc_url_for_provider(PACKAGE, __version__)
    else:
        from airflow.providers_manager import ProvidersManager

        linked = ProvidersManager().providers[PACKAGE].data.get("documentation-url", "").strip()

    # Airflow 3.0 links to no provider's documentation.
    assert linked == ("" if airflow_version.startswith("3.0.") else project["urls"]["Documentation"])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_module_is_there_and_holds_public_classes(package):
    for listed in INFO[package]:
        assert listed["integration-name"] in [i["integration-name"] for i in INFO["integrations"]]
        for path in listed["python-modules"]:
            assert public_classes(importlib.import_module(path), PACKAGES[package])


def test_every_public_class_is_in_a_listed_module():
    import pkgutil

    import airflow_provider_kling_avatar as package

    listed = {path for package in PACKAGES for entry in INFO[package] for path in entry["python-modules"]}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if any(part in module.name for part in NOT_LISTED) or module.ispkg:
            continue
        loaded = importlib.import_module(module.name)
        if any(public_classes(loaded, base) for base in PACKAGES.values()):
            assert module.name in listed
        for name in public_classes(loaded, BaseOperatorLink):
            assert f"{module.name}.{name}" in INFO["extra-links"]


def test_listed_classes_are_there():
    (connection,) = INFO["connection-types"]

    assert load(connection["hook-class-name"]) is KlingAvatarHook
    assert connection["connection-type"] == KlingAvatarHook.conn_type == CONN_TYPE
    assert connection["hook-name"] == KlingAvatarHook.hook_name
    (decorator,) = INFO["task-decorators"]
    assert decorator["name"] == "kling_avatar"
    assert callable(load(decorator["class-name"]))
    assert [load(path).name for path in INFO["extra-links"]] == ["Kling video task"]


def test_the_form_offers_every_api_and_every_extra_that_there_is():
    assert tuple(DIALECTS) == APIS
    assert set(CONN_FIELDS) == set(EXTRAS)


def test_every_field_of_the_form_says_what_it_is_for():
    for name, field in CONN_FIELDS.items():
        assert field["label"], name
        assert field["description"].endswith((".", "}")), name
        assert "null" in field["schema"]["type"], "may be left empty"


def test_the_form_hides_no_field_that_the_hook_reads():
    assert set(UI_FIELD_BEHAVIOUR["hidden-fields"]).isdisjoint({"host", "login", "password", "extra"})


def test_what_a_field_offers_to_begin_with_fits_its_own_rules():
    for field in CONN_FIELDS.values():
        if "default" in field["schema"]:
            jsonschema.validate(field["schema"]["default"], field["schema"])


def test_the_form_of_older_airflows_says_the_same():
    behaviour = KlingAvatarHook.get_ui_field_behaviour()

    assert behaviour == {
        "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
        "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    }


def test_the_form_of_airflow_2_has_the_same_fields():
    """Airflow 3 has no such form, and is not asked to have the libraries for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow 2's form library is full of deprecations of its own
        try:
            from wtforms import Form

            widgets = KlingAvatarHook.get_connection_form_widgets()
        except ImportError:
            assert not airflow_version.startswith("2.")
            return
    form = type("ConnectionForm", (Form,), widgets)()

    assert set(form._fields) == set(CONN_FIELDS)
    assert form.api.data == "kling"
    assert form.validate()
    for name, field in form._fields.items():
        assert field.label.text == CONN_FIELDS[name]["label"]
        assert field.description == CONN_FIELDS[name]["description"]


# ---------------------------------------------------------------------------------------------- commands

COMMANDS = ("list", "hooks", "links", "widgets", "behaviours", "triggers", "lazy-loaded", "get")

# One process for all commands: starting Airflow is what takes long.
SCRIPT = """
import contextlib, io, json, sys

from airflow.__main__ import main

printed = {}
for command in json.loads(sys.argv[1]):
    extra = ["airflow-provider-kling-avatar", "--full"] if command == "get" else []
    sys.argv = ["airflow", "providers", command, *extra, "--output", "json"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    printed[command] = out.getvalue()
print("PRINTED" + json.dumps(printed))
"""


@pytest.fixture(scope="module")
def commands():
    """Run `airflow providers ...` as a user would; return what each printed, and all that was complained of."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SCRIPT, json.dumps(COMMANDS)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, _, printed = done.stdout.partition("PRINTED")
    return json.loads(printed) | {"noise": before + done.stderr}


def rows(commands, command):
    text = commands[command]
    return json.loads(text[text.rindex("[{") :])  # behind log lines, which begin with a bracket too


def test_the_commands_complain_of_nothing_of_ours(commands):
    lines = (commands["noise"] + "".join(commands.values())).splitlines()
    # Not the tables, in which other providers name what is theirs.
    told = [line for line in lines if not line.startswith('[{"')]
    complaints = [line for line in told if "warn" in line.lower() or "error" in line.lower()]

    assert [line for line in complaints if "kling" in line.lower()] == []


def test_the_provider_is_listed(commands):
    (ours,) = [row for row in rows(commands, "list") if row["package_name"] == PACKAGE]

    assert ours["version"] == __version__
    assert "Talking-head" in ours["description"]


def test_the_hook_is_listed_and_can_be_imported(commands):
    (ours,) = [row for row in rows(commands, "hooks") if row["connection_type"] == CONN_TYPE]

    assert ours["class"] == HOOK
    assert ours["conn_id_attribute_name"] == "kling_conn_id"
    assert ours["package_name"] == PACKAGE
    assert ours["hook_name"] == "Kling Avatar"


def test_the_link_is_listed(commands):
    assert LINK in commands["links"]


def test_the_trigger_is_listed(commands):
    assert "airflow_provider_kling_avatar.triggers.kling_avatar" in commands["triggers"]


def test_the_behaviour_of_the_form_is_listed_where_this_airflow_can_show_it(commands):
    if OLD_FORM_ONLY:
        assert commands["behaviours"].strip().endswith("[]"), "no provider's is"
        return
    assert CONN_TYPE in commands["behaviours"]


def test_the_fields_of_the_form_are_listed_where_this_airflow_can_show_them(commands):
    if OLD_FORM_ONLY:
        assert commands["widgets"].strip().endswith("[]"), "no provider's are"
        return
    for name in CONN_FIELDS:
        assert name in commands["widgets"]


def test_the_provider_can_be_looked_at(commands):
    assert "kling_avatar" in commands["get"]


# ---------------------------------------------------------------------------------------------- configuration


DEFAULTS = """
from airflow_provider_kling_avatar.operators import kling_avatar as operators
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

submit = operators.KlingAvatarSubmitOperator(task_id="a", image="f.png", audio="v.mp3")
whole = operators.KlingAvatarOperator(task_id="b", image="f.png", audio="v.mp3")
sensor = KlingAvatarSensor(task_id="c", kling_task_id="1")
said = KlingAvatarSensor(task_id="d", kling_task_id="1", deferrable=True)
print("DEFAULTS", submit.deferrable, whole.deferrable, sensor.deferrable, said.deferrable)
"""


@pytest.mark.parametrize(
    ("environment", "default"),
    [
        pytest.param(
            {"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "False"}, True, id="Airflow's own, as generated"
        ),
        pytest.param({"AIRFLOW__KLING_AVATAR__DEFAULT_DEFERRABLE": "False"}, False, id="this provider's"),
    ],
)
def test_the_default_of_deferrable_is_this_providers_own_setting(environment, default):
    script = subprocess.run(
        [sys.executable, "-c", DEFAULTS],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )

    last = script.stdout.splitlines()[-1] if script.stdout else script.stderr
    assert last == f"DEFAULTS {default} {default} {default} True", script.stderr


def test_airflow_lists_this_providers_settings():
    listed = subprocess.run(
        [sys.executable, "-m", "airflow", "config", "get-value", "kling_avatar", "default_deferrable"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert listed.stdout.splitlines()[-1:] == ["True"], listed.stderr
