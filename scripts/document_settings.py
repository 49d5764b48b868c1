"""Write the config's README and its JSON schema from the one definition of the settings.

Reads scripts/cxrflow/config/settings.py; writes config/README.md and workflow/schemas/config.schema.json.

    python scripts/document_settings.py --readme config/README.md --schema workflow/schemas/config.schema.json
"""

import json
from pathlib import Path

from cxrflow.config.docs import json_schema, settings_readme
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_text


def document_settings(*, readme: Path, schema: Path) -> None:
    """Write both documents.

    readme: the Markdown page to write.
    schema: the JSON schema to write, for editors that check YAML as it is typed.
    """
    write_text(readme, settings_readme(StudySettings))
    write_text(schema, json.dumps(json_schema(StudySettings), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_stage(document_settings)
