"""The door to NVML, with a driver's answers in the place of the driver: what an H100 tells, and what it may not."""

# ruff: noqa: N802 - the fake has the names of the library's functions

from __future__ import annotations

import pynvml
import pytest

from runners.gpu_watch import GpuTally, visible_gpu, watch_gpu
from runners.nvml import GpuNotSeen, GpuReading, NvmlGpu
from tuner.domain.deployment import GpuUse

MIB = 1 << 20
TOTAL_BYTES, IDLE_BYTES = 85520809984, 551 * MIB
START_US = 1_763_800_000_000_000


class Driver:
    """One H100 through pynvml's functions; `refuses` are those it does not answer. Times are the driver's own."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.samples = [(START_US, 0)]
        self.energy_mj = 9_120_334_187
        self.used_bytes = IDLE_BYTES
        self.processes: list[tuple[int, int | None]] = []
        self.reasons = 0x1
        self.open = 0

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index):
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return "card"

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in ("GPU-1d6b0fc2-6a1c-7e3f", "MIG-8f2f3a70-0b7e-5a0e"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "card" if uuid.startswith("GPU") else "instance"

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _handle):
        return "card"

    def nvmlDeviceGetName(self, _handle):
        return "NVIDIA H100 80GB HBM3"

    def nvmlSystemGetDriverVersion(self):
        return "570.124.06"

    def nvmlDeviceGetMigMode(self, _handle):
        return [0, 0]

    def nvmlDeviceGetMemoryInfo(self, _handle):
        memory = pynvml.c_nvmlMemory_t()
        memory.total, memory.used = TOTAL_BYTES, self.used_bytes
        return memory

    def nvmlDeviceGetUtilizationRates(self, _handle):
        rates = pynvml.c_nvmlUtilization_t()
        rates.gpu, rates.memory = self.samples[-1][1], 7
        return rates

    def nvmlDeviceGetSamples(self, _handle, _kind, after_us):
        if self.samples[-1][0] <= after_us:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        array = (pynvml.c_nvmlSample_t * len(self.samples))()
        for entry, (at_us, percent) in zip(array, self.samples, strict=True):
            entry.timeStamp, entry.sampleValue.uiVal = at_us, percent
        return pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, array[:]

    def nvmlDeviceGetComputeRunningProcesses(self, _handle):
        found = []
        for pid, used in self.processes:
            one = pynvml.c_nvmlProcessInfo_v3_t()
            one.pid = pid
            friendly = pynvml.nvmlStructToFriendlyObject(one)
            friendly.usedGpuMemory = used
            found.append(friendly)
        return found

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle):
        return self.energy_mj

    def nvmlDeviceGetClockInfo(self, _handle, _kind):
        return 1980

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle):
        return self.reasons


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Every function of the library that a driver would have to be there for."""
    found = Driver()

    def answer(name: str):
        def call(*arguments):
            if name in found.refuses:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return getattr(found, name)(*arguments)

        return call

    for name in [name for name in dir(Driver) if name.startswith("nvml")]:
        monkeypatch.setattr(pynvml, name, answer(name))
    return found


def test_the_drivers_own_samples_are_read_once_each(driver: Driver):
    gpu = NvmlGpu("0")
    driver.samples += [(START_US + 167_000, 40), (START_US + 334_000, 100)]
    assert gpu.read().busy == (
        (pytest.approx((START_US + 167_000) / 1e6), 0.4),
        (pytest.approx((START_US + 334_000) / 1e6), 1.0),
    )
    assert gpu.read().busy == ()
    gpu.close()
    assert driver.open == 0


def test_a_card_without_samples_tells_its_latest_mean(driver: Driver):
    driver.refuses.add("nvmlDeviceGetSamples")
    driver.samples.append((START_US + 1, 63))
    reading = NvmlGpu("GPU-1d6b0fc2-6a1c-7e3f").read()
    assert reading.busy == ((pytest.approx(reading.at_s, abs=1.0), 0.63),)
    assert reading.memory_busy is not None
    assert reading.memory_busy[0][1] == 0.07


def test_what_is_not_told_is_none_and_the_rest_is_read(driver: Driver):
    driver.refuses |= {
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetMigMode",
    }
    gpu = NvmlGpu("0")
    reading = gpu.read()
    assert reading == GpuReading(
        at_s=reading.at_s, memory_used_bytes=IDLE_BYTES, memory_total_bytes=TOTAL_BYTES, clock_mhz=1980.0
    )
    assert dict(gpu.facts()) == {"gpu": "NVIDIA H100 80GB HBM3", "gpu_driver": "570.124.06"}


def test_a_part_of_a_divided_card_is_not_charged_with_the_cards_energy(driver: Driver):
    assert NvmlGpu("MIG-8f2f3a70-0b7e-5a0e").read().energy_j is None
    assert NvmlGpu("0").read().energy_j == pytest.approx(9_120_334.187)


@pytest.mark.parametrize(("reasons", "throttled"), [(0x1, False), (0x2, False), (0x4, True), (0x48, True)])
def test_idle_and_chosen_clocks_are_not_throttling_but_power_and_heat_are(driver: Driver, reasons, throttled):
    driver.reasons = reasons
    assert NvmlGpu("0").read().throttled is throttled


@pytest.mark.parametrize("name", ["1", "GPU-unknown", "MIG-unknown"])
def test_a_gpu_that_is_not_there_is_said_and_nothing_stays_open(driver: Driver, name: str):
    with pytest.raises(GpuNotSeen, match=f"no GPU '{name}'"):
        NvmlGpu(name)
    assert driver.open == 0


def test_without_a_driver_nothing_is_watched_and_it_is_said_once(driver: Driver, caplog: pytest.LogCaptureFixture):
    driver.refuses.add("nvmlInit")
    for _ in range(2):
        with watch_gpu("0", frozenset) as watch:
            assert watch is None
    assert [record.message for record in caplog.records] == [
        "results will not tell what the GPU did: the NVIDIA driver cannot be asked: Not Supported"
    ]


def test_a_watch_ends_with_its_block_and_its_use_is_up_to_date(driver: Driver):
    driver.processes = [(4711, 3 << 30), (4712, 1 << 30), (99, 5 << 30)]
    with watch_gpu("0", lambda: (4711, 4712)) as watch:
        assert watch is not None
        before = watch.use()
        driver.samples += [(START_US + 500_000, 0), (START_US + 1_500_000, 80), (START_US + 2_500_000, 100)]
        driver.energy_mj += 1_400_000
        after = watch.use()
    assert before is not None
    assert after is not None
    assert after.busy_s == pytest.approx(1.8)
    assert after.energy_j - before.energy_j == pytest.approx(1400.0)
    assert (after.memory_peak_bytes, after.memory_of) == (4 << 30, "server")
    assert driver.open == 0


def tallied(*readings: GpuReading) -> GpuUse:
    tally = GpuTally()
    assert tally.use() is None
    for reading in readings:
        tally.add(reading, lambda: (7,))
    use = tally.use()
    assert use is not None
    return use


def test_where_processes_cannot_be_told_apart_the_growth_of_the_device_counts():
    """In a container the driver's process numbers are not ours, or none are shown."""
    use = tallied(*(GpuReading(at_s=k, memory_used_bytes=IDLE_BYTES + used) for k, used in enumerate((0, 900, 400))))
    assert (use.memory_peak_bytes, use.memory_of) == (900, "device")


def test_shares_are_added_up_over_the_time_they_are_for():
    use = tallied(
        GpuReading(at_s=10.0, throttled=True, clock_mhz=1000.0, busy=((3.0, 1.0),)),
        GpuReading(at_s=11.0, throttled=False, clock_mhz=2000.0, busy=((4.0, 0.5), (6.0, 0.25))),
        GpuReading(at_s=14.0, throttled=True, clock_mhz=1000.0, busy=()),
    )
    assert use == GpuUse(busy_s=1.0, memory_busy_s=None, throttled_s=3.0, clock_mhz_s=5000.0)


def test_a_figure_that_went_missing_on_the_way_is_not_guessed():
    assert tallied(GpuReading(at_s=1.0, busy=()), GpuReading(at_s=2.0), GpuReading(at_s=3.0, busy=())).busy_s is None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, "2"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1d6b"}, "GPU-1d6b"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-8f2f"}, "MIG-8f2f"),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
    ],
)
def test_the_gpu_is_the_first_that_the_server_may_use(variables, name):
    assert visible_gpu(variables) == name
