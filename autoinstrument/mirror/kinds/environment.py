"""The captured environment of a run's process: code, packages, arguments, and the settings that travel with a Task."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autoinstrument.capture import code
from autoinstrument.clearml_api import storable
from autoinstrument.clearml_api.tasks import DEVELOPMENT, Hyperparameter, Task
from autoinstrument.clone_run import command_line
from autoinstrument.clone_run.settings import OBJECT, start_folder_line
from autoinstrument.integrations.parsed_arguments import HYDRA
from autoinstrument.mirror.context import RunContext
from autoinstrument.mirror.kinds.kind import CapturedKind, RunPart
from autoinstrument.mirror.mapping.hyperparameters import hyperparameter, item_name, sections
from autoinstrument.mirror.mapping.task_settings import travelling
from autoinstrument.mlflow_store.run_reader import RunReader
from autoinstrument.records import ModelsLogged, Param, Record, TagsSet
from autoinstrument.scrubber import hide_in_text, without_credentials

ARGUMENTS = "Args"
"""ClearML's own section for the command line; from it a clone's parser is given its values."""
VARIABLES = "Environment"
"""ClearML's own section for environment variables (clearml 1.16 to 2.1.12, `binding/environ_bind.py`)."""

_RUN_TYPE, _EVALUATION = "mlflow.runType", "genai_evaluate"
"""Tag of the runs of `mlflow.genai.evaluate` (mlflow 3.4 to 3.17); other evaluations look like training."""
_OF_COMMAND_LINE = "what the program's parser has read; a clone's command line is made from it and from Args"
_OF_OMEGACONF = (
    "the configuration that Hydra gave to the job; in a clone, change the section Hydra, or this and set "
    f"Hydra/{command_line.ALLOW_EDIT} to True"
)
_OF_SWITCH = f"True: the configuration {command_line.CONFIGURATION} counts in a clone, and not this section"


class Environment(CapturedKind):
    """The journal holds it, but for the Task's type; a Task that the script or an agent made has its own."""

    name = "environment"

    def read(self, run: RunReader) -> Iterator[Record]:
        """Yield what decides the type of an evaluation's Task; other runs are not asked for their models."""
        run_type = run.stored.run.tags.get(_RUN_TYPE, "")
        if run_type == _EVALUATION:
            yield TagsSet(run.run_id, {_RUN_TYPE: run_type})
            yield run.state("models")

    def part(self, context: RunContext) -> EnvironmentPart:
        """See `Kind.part`."""
        return EnvironmentPart(context)


def arguments(values: list[Param], help_texts: Mapping[str, str]) -> list[Hyperparameter]:
    """Return the command line as items of the section `Args`, and Hydra's overrides as items of `Hydra`.

    Args:
        values: the command line by name.
        help_texts: descriptions by name.
    """
    return [
        hyperparameter(HYDRA[:-1], key.removeprefix(HYDRA), value, kind)
        if key.startswith(HYDRA)
        else hyperparameter(ARGUMENTS, key, value, kind, storable.text(hide_in_text(help_texts.get(key, ""))))
        for key, value, kind in values
    ]


def script_of_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the script section of a run that was not captured, as far as MLflow's own tags know it."""
    known = {
        "entry_point": tags.get("mlflow.source.name", ""),
        "repository": without_credentials(tags.get("mlflow.source.git.repoURL", "")),
        "version_num": tags.get("mlflow.source.git.commit", ""),
        "branch": tags.get("mlflow.source.git.branch", ""),
    }
    return {name: value for name, value in known.items() if value}


def _script_name(_: Mapping[str, Any]) -> str:
    return "the script"


def _object_name(item: Mapping[str, str]) -> str:
    return item["name"]


class EnvironmentPart(RunPart):
    """A Task is made with it; code and packages may come later, and arguments may change."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._has_changed = False
        self._lacks_settings = False
        self._run_type = context.run.tags.get(_RUN_TYPE, "")
        self._has_models = False
        self._given_type = ""
        """The type that the Task was made with; "" for a Task that this part has not made, which keeps its own."""
        self._names: set[str] = set()
        """Names of the arguments that the Task was given."""
        self._held: dict[str, Any] = {}
        """What the Task was given here, by names for messages; what it was given by others may have changed."""
        self._is_made_here = False
        self._start_folder = ""
        """The start folder that the Task was given."""

    def describe_again(self) -> None:
        """Note that the journal has changed since the Task was made.

        A process that only logs to the run, such as a rank on another machine, does not describe the run's Task; nor
        does one that resumes the run of another program.
        """
        is_of_program = self._context.run.owned and not self._context.run.begun_elsewhere
        self._has_changed = self._has_changed or is_of_program or self._is_made_here

    def found(self, task: Task, *, is_given: bool) -> None:
        """Describe the Task of a run that began here, if another process has made it, which logs to the run too."""
        run, self._is_made_here, self._names, self._held = self._context.run, False, set(task.arguments), {}
        self._start_folder = start_folder_line(task.configuration.get(OBJECT, ""))
        if run.owned and not run.resumed and not is_given and self._context.journal.script:
            self._has_changed = True

    def take(self, record: Record) -> None:
        """Note what decides the Task's type; MLflow marks the active run when an evaluation begins."""
        if isinstance(record, TagsSet):
            self._run_type = record.tags.get(_RUN_TYPE, self._run_type)
        elif isinstance(record, ModelsLogged):
            self._has_models = bool(record.models)

    @property
    def has_work(self) -> bool:
        """True while the Task was described by another capture, or has another type."""
        return self._has_changed or self._has_other_type

    def initial(self) -> dict[str, Any]:
        """Return all of it."""
        objects = [*self._objects(), self._settings()]
        return {
            "type": self._type,
            "system_tags": [DEVELOPMENT],
            "script": self._script(),
            "hyperparams": sections([*self._arguments(), *self._variables()]),
            "configuration": {item["name"]: item for item in objects},
        }

    def created(self, *, bare: bool) -> None:
        """See `RunPart.created`."""
        self._has_changed = self._lacks_settings = bare
        self._is_made_here = True
        self._given_type = self._type
        self._names = set() if bare else {item["name"] for item in self._arguments()}
        self._start_folder = "" if bare else self._started_in()
        self._held = {} if bare else self._wanted()

    def send(self, task: Task) -> None:
        """Write what has changed of it.

        Raises:
            ClearMLError: the server did not take everything; the rest is sent again.
        """
        if self._has_other_type and not task.adopted:
            types, tasks = [self._type], self._context.tasks
            self._context.rejections.send_each(lambda some: tasks.edit(task, type=some[0]), types, lambda _: "the type")
        self._given_type = self._given_type and self._type
        if not self._has_changed:
            return
        if not task.adopted:
            self._write(task)
        self._has_changed = self._lacks_settings = False

    @property
    def _type(self) -> str:
        """The type of Task: a test if the run only evaluates. One that also puts out a model has trained it."""
        return "testing" if self._run_type == _EVALUATION and not self._has_models else "training"

    @property
    def _has_other_type(self) -> bool:
        return bool(self._given_type) and self._given_type != self._type

    def _write(self, task: Task) -> None:
        tasks, send_each = self._context.tasks, self._context.rejections.send_each
        self._write_new(_script_name, lambda scripts: tasks.edit(task, script=scripts[0]), [self._script()])
        items = self._arguments()
        names = {item["name"] for item in items}
        gone = sorted(self._names - names)
        # A clone's parser can be given only arguments that some code has read by name.
        send_each(
            functools.partial(tasks.delete_hyperparameters, task, ARGUMENTS),
            gone,
            lambda name: f"the deletion of the argument {name}",
        )
        for name in gone:
            self._held.pop(item_name({"section": ARGUMENTS, "name": name}), None)
        self._write_new(item_name, functools.partial(tasks.set_hyperparameters, task), [*items, *self._variables()])
        self._names = names
        objects = self._objects()
        if self._lacks_settings or self._start_folder != self._started_in():
            objects.append(self._settings())
        self._write_new(_object_name, functools.partial(tasks.set_configuration, task), objects)
        self._start_folder = self._started_in()

    def _settings(self) -> dict[str, str]:
        """Return the configuration object with what a clone's run takes besides its arguments."""
        return travelling(self._context.settings, self._context.run, self._started_in())

    def _started_in(self) -> str:
        """Return where the program was started, "" if that is the Task's `working_dir`; see `capture.code`."""
        journal = self._context.journal
        return code.module_started_in(journal.process, journal.script) if journal.process else ""

    def _write_new(self, name: Callable[[Any], str], write: Callable[[list[Any]], object], items: list[Any]) -> None:
        """Write those of some items that the Task was not given as they are now."""
        new = [item for item in items if self._held.get(name(item)) != item]
        self._context.rejections.send_each(write, new, name)
        self._held.update((name(item), item) for item in new)

    def _wanted(self) -> dict[str, Any]:
        """Return all that a Task is made with, by names for messages."""
        items = [*self._arguments(), *self._variables()]
        named = [(_script_name, [self._script()]), (item_name, items), (_object_name, self._objects())]
        return {name(item): item for name, some in named for item in some}

    def _script(self) -> dict[str, Any]:
        """Return the script section, with the requirements that an agent installs."""
        journal = self._context.journal
        return {**journal.script, "requirements": {"pip": journal.requirements, "conda": journal.conda}}

    def _objects(self) -> list[dict[str, str]]:
        """Return the configuration objects: all packages, Hydra's configuration, the words of the command line."""
        journal = self._context.journal
        line = journal.process.command_line if journal.process else None
        return [
            {"name": name, "value": value, "type": kind, "description": description}
            for name, value, kind, description in (
                ("pip freeze", journal.freeze, "text", "all installed packages"),
                (
                    command_line.CONFIGURATION,
                    journal.process.configuration if journal.process else "",
                    "OmegaConf YAML",
                    _OF_OMEGACONF,
                ),
                (command_line.OBJECT, json.dumps(line) if line else "", "json", _OF_COMMAND_LINE),
            )
            if value
        ]

    def _arguments(self) -> list[Hyperparameter]:
        process = self._context.journal.process
        if process is None:
            return []
        switch = hyperparameter(HYDRA[:-1], command_line.ALLOW_EDIT, "False", "bool", _OF_SWITCH)
        return [*arguments(process.arguments, process.help_texts), *([switch] if process.configuration else [])]

    def _variables(self) -> list[Hyperparameter]:
        return [hyperparameter(VARIABLES, name, value) for name, value in self._context.journal.variables.items()]
