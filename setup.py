"""Names the packages; all else of the build is in pyproject.toml, whose `find` cannot add the mapped ones."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("src"), "embedgate.suites", "embedgate.fixtures", "embedgate.baselines", "embedgate.ci"])
