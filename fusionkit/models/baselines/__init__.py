"""Published baselines, one file each: with their authors' own weights, or as architectures for whoever has some."""

from fusionkit.models.baselines.aitfuse import AITFuse
from fusionkit.models.baselines.atfuse import ATFuse
from fusionkit.models.baselines.cddfuse import CDDFuse
from fusionkit.models.baselines.cmtfusion import CMTFusion
from fusionkit.models.baselines.datfuse import DATFuse
from fusionkit.models.baselines.defusion import DeFusion
from fusionkit.models.baselines.densefuse import DenseFuse
from fusionkit.models.baselines.didfuse import DIDFuse
from fusionkit.models.baselines.emma import EMMA
from fusionkit.models.baselines.fusiongan import FusionGAN
from fusionkit.models.baselines.ifcnn import IFCNN
from fusionkit.models.baselines.ift import IFT
from fusionkit.models.baselines.itfuse import ITFuse
from fusionkit.models.baselines.lrrnet import LRRNet
from fusionkit.models.baselines.matr import MATR
from fusionkit.models.baselines.mbhfuse import MBHFuse
from fusionkit.models.baselines.network import Baseline
from fusionkit.models.baselines.piafusion import PIAFusion
from fusionkit.models.baselines.pmkfuse import PMKFuse
from fusionkit.models.baselines.reconet import ReCoNet
from fusionkit.models.baselines.rfn_nest import RFNNest
from fusionkit.models.baselines.sdnet import SDNet
from fusionkit.models.baselines.swinfusion import SwinFusion
from fusionkit.models.baselines.tardal import TarDAL
from fusionkit.models.baselines.u2fusion import U2Fusion
from fusionkit.models.baselines.ydtr import YDTR

__all__ = ["BASELINES", "Baseline"]

_WITH_WEIGHTS = (DATFuse, DenseFuse, DIDFuse, IFCNN, ITFuse, LRRNet, MATR, ReCoNet, SDNet, U2Fusion, YDTR)
_ARCHITECTURES = (
    *(AITFuse, ATFuse, CDDFuse, CMTFusion, DeFusion, EMMA, FusionGAN, IFT, MBHFuse, PIAFusion, PMKFuse, RFNNest),
    *(SwinFusion, TarDAL),
)
BASELINES: dict[str, type[Baseline]] = {network.__name__.lower(): network for network in _WITH_WEIGHTS + _ARCHITECTURES}
