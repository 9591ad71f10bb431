"""Write docs/specification.md from the schema: ``python docs/specification.py``."""

from pathlib import Path

from gradlab.specification import reference

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "minimum_norm.toml"

if __name__ == "__main__":
    (HERE / "specification.md").write_text(
        reference.page(EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8"
    )
