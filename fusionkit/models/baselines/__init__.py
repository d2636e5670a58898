"""Published baselines that run with their authors' own weights, one file each."""

from fusionkit.models.baselines.datfuse import DATFuse
from fusionkit.models.baselines.densefuse import DenseFuse
from fusionkit.models.baselines.didfuse import DIDFuse
from fusionkit.models.baselines.ifcnn import IFCNN
from fusionkit.models.baselines.itfuse import ITFuse
from fusionkit.models.baselines.lrrnet import LRRNet
from fusionkit.models.baselines.matr import MATR
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.reconet import ReCoNet
from fusionkit.models.baselines.sdnet import SDNet
from fusionkit.models.baselines.u2fusion import U2Fusion
from fusionkit.models.baselines.ydtr import YDTR

__all__ = ["BASELINES", "Baseline"]

BASELINES: dict[str, type[Baseline]] = {
    network.__name__.lower(): network
    for network in (DATFuse, DenseFuse, DIDFuse, IFCNN, ITFuse, LRRNet, MATR, ReCoNet, SDNet, U2Fusion, YDTR)
}
