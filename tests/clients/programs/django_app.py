"""A small Django application: migrations, models, transactions, locks, health checks. The first argument is the
driver, PyMySQL or mysqlclient. Prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import types
from decimal import Decimal
from pathlib import Path

import django
from django.conf import settings

if sys.argv[1] == "PyMySQL":
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)  # what Django asks of mysqlclient
    pymysql.install_as_MySQLdb()

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": os.environ["HOST"],
            "PORT": os.environ["PORT"],
            "USER": os.environ["DATABASE_USER"],
            "PASSWORD": os.environ["PASSWORD"],
            "NAME": os.environ["DATABASE"],
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
shop = types.ModuleType("shop")
shop.__path__ = [str(Path(__file__).parent)]  # type: ignore[attr-defined]
shop.__file__ = __file__
sys.modules["shop"] = shop
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import IntegrityError, OperationalError, connection, models, transaction  # noqa: E402


class Customer(models.Model):
    name = models.CharField(max_length=50, unique=True)
    credit = models.DecimalField(max_digits=12, decimal_places=2, default=Decimal("0"))
    photo = models.BinaryField(default=b"")
    since = models.DateTimeField(auto_now_add=True)
    settings = models.JSONField(default=dict)

    class Meta:
        app_label = "shop"


def number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def undone(name: str) -> None:
    with transaction.atomic():
        Customer.objects.create(name=name)
        raise ValueError


def main() -> None:
    facts: dict[str, object] = {}
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Customer)
    facts["tables"] = sorted(set(connection.introspection.table_names()) & {"auth_user", "shop_customer"})

    user = User.objects.create_user("zoë", password="x")
    facts["password"] = User.objects.get(pk=user.pk).check_password("x")

    one = Customer.objects.create(
        name="naïve 日本 🦆", credit=Decimal("12.50"), photo=bytes(range(256)), settings={"a": [1, None]}
    )
    Customer.objects.bulk_create(Customer(name=f"customer {n}") for n in range(100))
    read = Customer.objects.get(pk=one.pk)
    same = ("name", "credit", "photo", "settings")
    facts["read"] = all(
        bytes(getattr(read, f)) == one.photo if f == "photo" else getattr(read, f) == getattr(one, f)
        for f in same
    )
    facts["count"] = Customer.objects.filter(settings__a__0=1).count() + Customer.objects.count()

    for name in ("undone", "undone too"):
        try:
            undone(name)
        except ValueError:
            pass
    with transaction.atomic():
        locked = Customer.objects.select_for_update().get(pk=one.pk)
        locked.credit += 1
        locked.save()
        try:
            with transaction.atomic():
                Customer.objects.create(name=one.name)
        except IntegrityError as error:
            facts["duplicate"] = error.args[0]
        facts["in_transaction"] = str(Customer.objects.get(pk=one.pk).credit)
    facts["after"] = [
        str(Customer.objects.get(pk=one.pk).credit),
        Customer.objects.filter(name__startswith="undone").count(),
    ]
    facts["updated"] = Customer.objects.filter(pk=one.pk).update(name=one.name)
    facts["get_or_create"] = Customer.objects.get_or_create(name="customer 5")[1]
    facts["deleted"] = Customer.objects.filter(name__contains="customer").delete()[0]

    first = number()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(f"KILL {first}")
    other.close()
    try:
        Customer.objects.count()
    except OperationalError:
        facts["killed"] = True
    connection.close_if_unusable_or_obsolete()  # what the end of a request does
    facts["again"] = Customer.objects.count()

    second = number()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(f"KILL {second}")
    other.close()
    connection.close_if_unusable_or_obsolete()  # the next request begins, with its health check
    connection.health_check_done = False
    facts["healthy"] = Customer.objects.count()
    facts["ids"] = 2**31 <= first < second < number()
    print(json.dumps(facts))


main()
