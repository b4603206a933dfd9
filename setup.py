"""Installation of multiview: the packages, their requirements and the two commands."""

from pathlib import Path

from setuptools import find_packages, setup

# Of these alone `multiview predict` answers with an export; see docs/serving.md.
LINES = Path(__file__).with_name("requirements-predict.txt").read_text(encoding="utf-8").splitlines()
# `multiview export --format onnx`: tf2onnx takes the protobuf of TensorFlow from 1.17 on.
ONNX = ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.17,<2"]
PREDICT = [line for line in LINES if not line.startswith("#")]

setup(
    name="multiview-audio",
    version="0.1.0",
    description="Multi-view audio and music classification with adaptive gradient blending",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["multiview", "multiview.*", "data_prep", "data_prep.*"]),
    package_data={
        "multiview": ["py.typed"],
        "data_prep": ["py.typed"],
        "multiview.report": ["*.j2"],
        "multiview.export": ["*.j2"],
        "multiview.app": ["*.j2", "*.css", "*.js"],
        "multiview.starters": ["*/*"],
    },
    install_requires=[
        *PREDICT,
        "tensorflow>=2.18,<3",
        "tensorflow-serving-api>=2.18,<3",
        # Up to 3.12 a saved model could import code when it was loaded.
        "keras>=3.12,<4",
        "pandas>=2.0",
        "scikit-learn>=1.3",
        "h5py>=3.10",
        "joblib>=1.4",
        "pooch>=1.6",
        "requests>=2.32",
        "urllib3>=2.2",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "tabulate>=0.9",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.18,<3"],
        "jax": ["jax>=0.4.34"],
        "app": ["gradio>=6.31,<7"],
        "cluster": ["distributed>=2024.1"],
        "onnx": ONNX,
        "test": [
            *ONNX,
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.11",
            "psutil>=5.9",
            "gradio>=6.31,<7",
            "playwright>=1.49",
            "jax>=0.4.34",
            "distributed>=2024.1",
        ],
    },
    entry_points={
        "console_scripts": [
            "multiview = multiview.cli:main",
            "multiview-prepare = data_prep.prepare:main",
        ]
    },
)
