"""Write the SHA-256 of the bundled datasets' files into their cards, after an intended change of the rows."""

from __future__ import annotations

import re

from embedgate.data.cards import CARD, bundled_folder, read_card, sha256_of
from embedgate.data.readers import files_of

for card in sorted(bundled_folder().glob(f"*/{CARD}")):
    found = sha256_of(card.parent, files_of(card.parent, read_card(card.parent)))
    before = card.read_text("utf-8")
    after = re.sub(r'^sha256 = "[0-9a-f]*"$', f'sha256 = "{found}"', before, count=1, flags=re.MULTILINE)
    if after != before:
        card.write_text(after, "utf-8")
        print(f"{card.parent.name}: {found}")
