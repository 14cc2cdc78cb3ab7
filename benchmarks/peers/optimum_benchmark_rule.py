"""optimum-benchmark: latency and throughput of the reference and of the candidate. It has no rule.

python optimum_benchmark_rule.py WORK FAULT DATA
"""

import sys
from pathlib import Path

from faults import NAMED, file_of, reference_of
from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ProcessConfig, PyTorchConfig


def measured(folder):
    """Seconds that a batch takes: the mean."""
    backend = PyTorchConfig(
        model=str(folder), library="transformers", task="feature-extraction", model_type="bert", device="cpu"
    )
    scenario = InferenceConfig(memory=True, input_shapes={"batch_size": 32, "sequence_length": 32})
    config = BenchmarkConfig(name="peers", launcher=ProcessConfig(), scenario=scenario, backend=backend)
    return Benchmark.launch(config).forward.latency.mean


if __name__ == "__main__":
    work, fault = Path(sys.argv[1]), NAMED[sys.argv[2]]
    folders = reference_of(work, fault, "folder"), file_of(work, fault, "folder")
    times = [measured(folder) for folder in folders]
    print(f"a batch takes {times[1] / times[0]:.2f} times as long as the reference's")
