"""Writes the people of the old application for `postern admin import`: one JSON object a line."""

import json
import sys


# <region export>
def export(shop, roles, out=sys.stdout):
    """`roles` says which role of Postern somebody gets, by their name in the old application."""
    for name, number, stored in shop.people():
        person = {
            # What the old tokens call the person, and what its other tables refer to.
            "external_id": str(number),
            "user_name": name,
            "password_hash": stored,
            "roles": [{"role": role} for role in roles.get(name, [])],
        }
        print(json.dumps(person), file=out)


# </region>
