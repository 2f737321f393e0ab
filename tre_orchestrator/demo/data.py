"""Invented health records that look like real ones and are nobody's: the same bytes on every machine.

NHS numbers come from the range 999, which is never given to a patient, with a valid check digit (NHS mod 11);
postcodes from an area (NX) and practices from a series (X9) that do not exist. Seasons, ages, stays and costs hang
together, so an analysis finds something. Some conditions are rare on purpose: their counts must not leave.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SEED = 20260101
ROWS = 200_000
PATIENTS = 92_000
SURVEY_ROWS = 1_200
FIRST_DAY = np.datetime64("2019-01-01")
DAYS = 6 * 365 + 2
_INWARD = np.array(list("ABDEFGHJLNPQRSTUWXYZ"))
_AGE_BANDS = ("16-24", "25-34", "35-44", "45-54", "55-64", "65-74", "75+")
_Array = np.ndarray[Any, np.dtype[Any]]

# code, share, median age, share of women, extra share in winter, median stay (days), median cost (GBP)
_CONDITIONS: tuple[tuple[str, float, int, float, float, float, float], ...] = (
    ("J18.9", 9.0, 72, 0.49, 0.75, 5.0, 2900),
    ("J44.1", 6.5, 70, 0.52, 0.55, 4.0, 2400),
    ("J22", 5.0, 68, 0.51, 0.90, 3.0, 1900),
    ("J10.1", 1.6, 60, 0.52, 1.60, 3.5, 2100),
    ("J21.0", 1.8, 1, 0.42, 1.70, 2.0, 1500),
    ("I50.0", 5.5, 79, 0.48, 0.25, 7.0, 3600),
    ("I21.4", 4.5, 70, 0.36, 0.15, 4.0, 3900),
    ("I48.9", 4.0, 74, 0.46, 0.10, 2.0, 1800),
    ("I63.9", 3.2, 76, 0.48, 0.10, 9.0, 5200),
    ("R07.4", 6.0, 58, 0.47, 0.05, 1.0, 800),
    ("N39.0", 6.5, 75, 0.66, 0.05, 4.0, 2200),
    ("A41.9", 4.0, 74, 0.48, 0.20, 7.0, 4300),
    ("E11.9", 4.8, 66, 0.43, 0.05, 3.0, 2000),
    ("E11.6", 2.6, 68, 0.38, 0.05, 7.5, 4100),
    ("E10.1", 1.2, 32, 0.50, 0.10, 3.0, 2100),
    ("K80.2", 3.0, 55, 0.68, 0.00, 2.0, 2700),
    ("K35.8", 2.2, 27, 0.46, 0.00, 2.0, 3300),
    ("K52.9", 3.2, 50, 0.55, 0.20, 2.0, 1300),
    ("K92.2", 2.4, 68, 0.44, 0.05, 3.0, 2300),
    ("S72.0", 3.4, 83, 0.71, 0.15, 13.0, 8900),
    ("S52.5", 2.2, 52, 0.60, 0.20, 1.0, 2000),
    ("S06.0", 1.6, 44, 0.40, 0.05, 1.0, 900),
    ("O80", 5.0, 30, 1.00, 0.00, 1.5, 2300),
    ("O82", 2.4, 32, 1.00, 0.00, 2.5, 4500),
    ("F10.2", 1.8, 48, 0.31, 0.05, 3.0, 1700),
    ("F32.9", 1.6, 42, 0.58, 0.05, 8.0, 4700),
    ("G40.9", 1.8, 40, 0.49, 0.00, 2.0, 1700),
    ("C34.9", 1.4, 71, 0.48, 0.00, 6.0, 5200),
    ("C50.9", 1.3, 61, 0.99, 0.00, 2.0, 4600),
    ("C18.9", 1.3, 70, 0.45, 0.00, 7.0, 8200),
    ("E75.2", 0.004, 35, 0.50, 0.00, 4.0, 6100),
    ("E83.0", 0.003, 29, 0.50, 0.00, 3.0, 4000),
    ("G71.0", 0.005, 22, 0.10, 0.00, 5.0, 5300),
)


def nhs_numbers(count: int, random: np.random.Generator) -> _Array:
    """`count` different ten-digit test numbers (999…) whose check digit is right (NHS mod 11, weights 10 to 2)."""
    serials = random.permutation(1_000_000)
    digits = serials[:, None] // 10 ** np.arange(5, -1, -1) % 10
    weighed = 9 * (10 + 9 + 8) + digits @ np.arange(7, 1, -1)
    check = (11 - weighed % 11) % 11
    valid = check != 10
    chosen = serials[valid][:count] * 10 + check[valid][:count]
    return np.asarray(chosen + 9_990_000_000)


def admissions(rows: int = ROWS, patients: int = PATIENTS) -> pl.DataFrame:
    """Invented hospital admissions, one row each, by date. Costs in GBP, HbA1c in mmol/mol, pressure in mmHg."""
    random = np.random.default_rng(SEED)
    share = np.array([row[1] for row in _CONDITIONS])
    condition = random.choice(len(_CONDITIONS), size=patients, p=share / share.sum())
    person = _people(condition, random)
    # everybody once, then more for some: a few come back again and again
    again = random.choice(patients, size=rows - patients, p=_weights(random.gamma(0.6, size=patients)))
    who = np.concatenate([np.arange(patients), again])
    what = np.where(
        random.random(rows) < 0.72,
        condition[who],
        random.choice(len(_CONDITIONS) - 3, size=rows, p=_weights(share[:-3])),
    )
    what = np.where((what == _index("O80")) | (what == _index("O82")), condition[who], what)
    day = _days(what, random)
    return _table(who, what, day, person, random).sort("admission_date", "nhs_number")


def survey(rows: int = SURVEY_ROWS) -> pl.DataFrame:
    """Invented survey answers: the four ONS questions on personal wellbeing (0 to 10), and what goes with them."""
    random = np.random.default_rng(SEED + 1)
    age = random.choice(_AGE_BANDS, rows, p=[0.13, 0.17, 0.16, 0.16, 0.16, 0.12, 0.10])
    work = random.choice(
        ["employed", "self-employed", "unemployed", "student", "carer"], rows, p=[0.66, 0.14, 0.07, 0.05, 0.08]
    )
    work = np.where((age == "16-24") & (random.random(rows) < 0.45), "student", work)
    work = np.where(np.isin(age, ["65-74", "75+"]) & (random.random(rows) < 0.88), "retired", work)
    lift = np.select([work == "unemployed", work == "carer", work == "retired"], [-1.5, -0.8, 0.5], 0.0)
    mood = random.normal(0, 1.0, rows) + lift
    sleep = np.clip(random.normal(6.9, 1.0, rows) + 0.25 * mood, 3, 11)

    def answer(middle: float, slope: float) -> _Array:
        exact = middle + slope * mood + random.normal(0, 1.2, rows)
        return np.asarray(np.clip(np.rint(exact), 0, 10), dtype=np.int8)

    return pl.DataFrame(
        {
            "respondent": [f"W25-{number:05d}" for number in random.permutation(90_000)[:rows] + 10_000],
            "age_band": age,
            "sex": random.choice(["female", "male"], rows, p=[0.53, 0.47]),
            "region": random.choice(["Coast", "Moor", "Northshire City", "Vale"], rows, p=[0.2, 0.12, 0.45, 0.23]),
            "work": work,
            "life_satisfaction": answer(7.4, 0.9),
            "worthwhile": answer(7.7, 0.8),
            "happy_yesterday": answer(7.3, 1.0),
            "anxious_yesterday": answer(3.1, -1.1),
            "sleep_hours": np.round(sleep, 1),
            "lives_alone": random.random(rows) < 0.29,
            "weight": np.round(random.lognormal(0, 0.3, rows), 4),
        }
    )


_DICTIONARY = (
    ("respondent", "Number of the answer; not linked to anything"),
    ("age_band", "Age in years"),
    ("sex", "As answered"),
    ("region", "One of four invented regions"),
    ("work", "Main activity"),
    ("life_satisfaction", "Overall, how satisfied are you with your life nowadays? 0 to 10"),
    ("worthwhile", "Overall, to what extent are the things you do worthwhile? 0 to 10"),
    ("happy_yesterday", "Overall, how happy did you feel yesterday? 0 to 10"),
    ("anxious_yesterday", "Overall, how anxious did you feel yesterday? 0 to 10"),
    ("sleep_hours", "Usual hours of sleep a night"),
    ("lives_alone", "true or false"),
    ("weight", "Weight of the answer; mean about 1"),
)


def write_admissions(folder: Path) -> None:
    """`admissions.csv` and `admissions.parquet` with the same rows."""
    table = admissions()
    table.write_csv(folder / "admissions.csv")
    table.write_parquet(folder / "admissions.parquet", compression="zstd", statistics=True)


def write_survey(folder: Path) -> None:
    """`wellbeing.csv` and what its columns mean."""
    survey().write_csv(folder / "wellbeing.csv")
    pl.DataFrame(_DICTIONARY, schema=["column", "meaning"], orient="row").write_csv(folder / "dictionary.csv")


def _index(code: str) -> int:
    return next(index for index, row in enumerate(_CONDITIONS) if row[0] == code)


def _weights(values: _Array) -> _Array:
    return np.asarray(values / values.sum())


def _people(condition: _Array, random: np.random.Generator) -> dict[str, _Array]:
    """What stays the same for a person over all their admissions."""
    count = len(condition)
    median_age = np.array([row[2] for row in _CONDITIONS])[condition]
    women = np.array([row[3] for row in _CONDITIONS])[condition]
    spread = np.where(median_age < 5, 0.8, np.clip(median_age * 0.22, 5, 14))
    age = np.clip(np.abs(random.normal(median_age, spread)), 0, 101)
    age = np.where(women == 1.0, np.clip(age, 17, 46), age)
    district = random.choice(np.arange(1, 25), size=count, p=_weights(random.gamma(3.0, size=24)))
    imd_of_district = random.integers(1, 11, size=25)
    imd = np.clip(imd_of_district[district] + random.integers(-1, 2, size=count), 1, 10)
    letters = random.choice(_INWARD, size=(count, 2))
    sector = random.integers(0, 10, size=count)
    inward = np.char.add(np.char.add(sector.astype(str), letters[:, 0]), letters[:, 1])
    outward = np.char.add("NX", district.astype(str))
    smoking = random.random(count) - (imd - 5.5) * 0.02
    child = age < 16
    bmi = np.clip(random.normal(27.6, 5.1, count) - (imd - 5.5) * 0.15, 14.5, 58)
    diabetic = np.isin(condition, [_index(code) for code in ("E11.9", "E11.6", "E10.1")])
    return {
        "nhs_number": nhs_numbers(count, random),
        "born": np.datetime64("2022-01-01") - (age * 365.25).astype("timedelta64[D]"),
        "sex": np.where(random.random(count) < women, "F", "M"),
        "postcode": np.char.add(np.char.add(outward, " "), inward),
        "practice": np.char.add("X9", (1000 + district * 3 + random.integers(0, 3, size=count)).astype(str)),
        "imd": imd,
        "smoker": np.select([child, smoking < 0.16, smoking < 0.46], ["never", "current", "ex"], "never"),
        "bmi": np.where(child, 15.6 + 0.25 * age + random.normal(0, 1.1, count), bmi),
        "diabetes": diabetic | (random.random(count) < 0.09),
    }


def _days(what: _Array, random: np.random.Generator) -> _Array:
    """Days of admission: even over the years, but for conditions of the winter more of them then."""
    extra = np.array([row[4] for row in _CONDITIONS])[what]
    day = random.integers(0, DAYS, size=len(what))
    for _ in range(4):
        winter = (1 + np.cos(2 * np.pi * (day - 10) / 365.25)) / 2
        keep = random.random(len(what)) < (1 + extra * winter) / (1 + extra)
        day = np.where(keep, day, random.integers(0, DAYS, size=len(what)))
    return FIRST_DAY + day.astype("timedelta64[D]")


def _table(
    who: _Array, what: _Array, day: _Array, person: dict[str, _Array], random: np.random.Generator
) -> pl.DataFrame:
    rows = len(who)
    born = np.minimum(person["born"][who], day - np.timedelta64(1, "D"))
    age = (day - born).astype(int) / 365.25
    stay = np.floor(random.exponential(np.array([row[5] for row in _CONDITIONS])[what] * (0.6 + age / 110)) + 0.2)
    stay = np.clip(stay, 0, 120).astype(int)
    cost = np.array([row[6] for row in _CONDITIONS])[what] * random.lognormal(-0.1, 0.35, rows) + 310.0 * stay
    diabetes = person["diabetes"][who]
    hba1c = np.where(diabetes, random.normal(64, 14, rows), random.normal(38, 3.5, rows))
    systolic = np.clip(112 + 0.32 * age + random.normal(0, 15, rows), 78, 225)
    discharged = pl.Series(day + stay.astype("timedelta64[D]")).cast(pl.Date)
    last_day = dt.date(2024, 12, 31)
    return pl.DataFrame(
        {
            "nhs_number": pl.Series(person["nhs_number"][who]).cast(pl.String),
            "date_of_birth": pl.Series(born).cast(pl.Date),
            "sex": person["sex"][who],
            "postcode": person["postcode"][who],
            "practice_code": person["practice"][who],
            "admission_date": pl.Series(day).cast(pl.Date),
            "discharge_date": discharged,
            "diagnosis_icd10": np.array([row[0] for row in _CONDITIONS])[what],
            "hba1c": _sometimes(np.clip(np.rint(hba1c), 20, 150), np.where(diabetes, 0.06, 0.55), random),
            "bmi": _sometimes(np.round(person["bmi"][who] + random.normal(0, 0.6, rows), 1), 0.12, random),
            "systolic_bp": _sometimes(np.rint(systolic), 0.04, random),
            "smoker": person["smoker"][who],
            "imd_decile": person["imd"][who].astype(np.int8),
            "cost_gbp": np.round(cost, 2),
        }
    ).with_columns(
        pl.when(pl.col("discharge_date") <= last_day).then(pl.col("discharge_date")),
        pl.col("hba1c").cast(pl.Int16),
        pl.col("systolic_bp").cast(pl.Int16),
    )


def _sometimes(values: _Array, missing: _Array | float, random: np.random.Generator) -> pl.Series:
    """The values with some of them not measured."""
    return pl.Series(np.where(random.random(len(values)) < missing, np.nan, values)).fill_nan(None)
