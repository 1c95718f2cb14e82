"""The papers that methods come from: their titles, and links that go to them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper; link: where to read it, empty if there is no lasting address."""

    title: str
    link: str = ""


# By how docstrings cite them. Two papers of the same people and year are told apart by a letter.
PAPERS = {
    "Alshammari et al., 2022": Paper(
        "Long-Tailed Recognition via Weight Balancing", "https://arxiv.org/abs/2203.14197"
    ),
    "Batista et al., 2003": Paper("Balancing Training Data for Automated Annotation of Keywords: a Case Study"),
    "Batista et al., 2004": Paper(
        "A Study of the Behavior of Several Methods for Balancing Machine Learning Training Data",
        "https://doi.org/10.1145/1007730.1007735",
    ),
    "Breiman et al., 1984": Paper("Classification and Regression Trees", "https://doi.org/10.1201/9781315139470"),
    "Brier, 1950": Paper(
        "Verification of Forecasts Expressed in Terms of Probability",
        "https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2",
    ),
    "Cao et al., 2019": Paper(
        "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", "https://arxiv.org/abs/1906.07413"
    ),
    "Chawla et al., 2002": Paper(
        "SMOTE: Synthetic Minority Over-sampling Technique", "https://arxiv.org/abs/1106.1813"
    ),
    "Cheng et al., 2023": Paper(
        "From SMOTE to Mixup for Deep Imbalanced Classification", "https://arxiv.org/abs/2308.15457"
    ),
    "Chou et al., 2020": Paper("Remix: Rebalanced Mixup", "https://arxiv.org/abs/2007.03943"),
    "Crammer and Singer, 2001": Paper(
        "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
        "https://www.jmlr.org/papers/v2/crammer01a.html",
    ),
    "Cubuk et al., 2019": Paper(
        "AutoAugment: Learning Augmentation Policies from Data", "https://arxiv.org/abs/1805.09501"
    ),
    "Cubuk et al., 2020": Paper(
        "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
        "https://arxiv.org/abs/1909.13719",
    ),
    "Cui et al., 2019": Paper(
        "Class-Balanced Loss Based on Effective Number of Samples", "https://arxiv.org/abs/1901.05555"
    ),
    "DeVries and Taylor, 2017": Paper(
        "Improved Regularization of Convolutional Neural Networks with Cutout", "https://arxiv.org/abs/1708.04552"
    ),
    "Du et al., 2023": Paper(
        "Global and Local Mixture Consistency Cumulative Learning for Long-Tailed Visual Recognitions",
        "https://arxiv.org/abs/2305.08661",
    ),
    "Elkan, 2001": Paper("The Foundations of Cost-Sensitive Learning"),
    "Foret et al., 2021": Paper(
        "Sharpness-Aware Minimization for Efficiently Improving Generalization", "https://arxiv.org/abs/2010.01412"
    ),
    "Gao and Zhou, 2015": Paper("On the Consistency of AUC Pairwise Optimization", "https://arxiv.org/abs/1208.0645"),
    "Gorodkin, 2004": Paper(
        "Comparing two K-category assignments by a K-category correlation coefficient",
        "https://doi.org/10.1016/j.compbiolchem.2004.09.006",
    ),
    "Goyal et al., 2017": Paper(
        "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", "https://arxiv.org/abs/1706.02677"
    ),
    "Gupta et al., 2019": Paper(
        "LVIS: A Dataset for Large Vocabulary Instance Segmentation", "https://arxiv.org/abs/1908.03195"
    ),
    "Han et al., 2005": Paper(
        "Borderline-SMOTE: A New Over-Sampling Method in Imbalanced Data Sets Learning",
        "https://doi.org/10.1007/11538059_91",
    ),
    "Han et al., 2018": Paper(
        "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
        "https://arxiv.org/abs/1804.06872",
    ),
    "Hart, 1968": Paper("The Condensed Nearest Neighbor Rule", "https://doi.org/10.1109/TIT.1968.1054155"),
    "He et al., 2008": Paper(
        "ADASYN: Adaptive Synthetic Sampling Approach for Imbalanced Learning",
        "https://doi.org/10.1109/IJCNN.2008.4633969",
    ),
    "He et al., 2016": Paper("Deep Residual Learning for Image Recognition", "https://arxiv.org/abs/1512.03385"),
    "Howard, 2013": Paper(
        "Some Improvements on Deep Convolutional Neural Network Based Image Classification",
        "https://arxiv.org/abs/1312.5402",
    ),
    "Huber, 1964": Paper("Robust Estimation of a Location Parameter", "https://doi.org/10.1214/aoms/1177703732"),
    "Japkowicz, 2000": Paper("The Class Imbalance Problem: Significance and Strategies"),
    "Kang et al., 2020": Paper(
        "Decoupling Representation and Classifier for Long-Tailed Recognition", "https://arxiv.org/abs/1910.09217"
    ),
    "Kini et al., 2021": Paper(
        "Label-Imbalanced and Group-Sensitive Classification under Overparameterization",
        "https://arxiv.org/abs/2103.01550",
    ),
    "Krogh and Hertz, 1992": Paper("A Simple Weight Decay Can Improve Generalization"),
    "Kubat and Matwin, 1997": Paper("Addressing the Curse of Imbalanced Training Sets: One-Sided Selection"),
    "Laine and Aila, 2017": Paper(
        "Temporal Ensembling for Semi-Supervised Learning", "https://arxiv.org/abs/1610.02242"
    ),
    "Last et al., 2017": Paper(
        "Oversampling for Imbalanced Learning Based on K-Means and SMOTE", "https://arxiv.org/abs/1711.00837"
    ),
    "Laurikkala, 2001": Paper(
        "Improving Identification of Difficult Small Classes by Balancing Class Distribution",
        "https://doi.org/10.1007/3-540-48229-6_9",
    ),
    "LeCun et al., 1998": Paper(
        "Gradient-Based Learning Applied to Document Recognition", "https://doi.org/10.1109/5.726791"
    ),
    "Leng et al., 2022": Paper(
        "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions",
        "https://arxiv.org/abs/2204.12511",
    ),
    "Lin et al., 2017": Paper("Focal Loss for Dense Object Detection", "https://arxiv.org/abs/1708.02002"),
    "Loshchilov and Hutter, 2017": Paper(
        "SGDR: Stochastic Gradient Descent with Warm Restarts", "https://arxiv.org/abs/1608.03983"
    ),
    "Loshchilov and Hutter, 2019": Paper("Decoupled Weight Decay Regularization", "https://arxiv.org/abs/1711.05101"),
    "Mahajan et al., 2018": Paper(
        "Exploring the Limits of Weakly Supervised Pretraining", "https://arxiv.org/abs/1805.00932"
    ),
    "Matthews, 1975": Paper(
        "Comparison of the Predicted and Observed Secondary Structure of T4 Phage Lysozyme",
        "https://doi.org/10.1016/0005-2795(75)90109-9",
    ),
    "Menon et al., 2021": Paper("Long-Tail Learning via Logit Adjustment", "https://arxiv.org/abs/2007.07314"),
    "Mueller and Hutter, 2021": Paper(
        "TrivialAugment: Tuning-Free Yet State-of-the-Art Data Augmentation", "https://arxiv.org/abs/2103.10158"
    ),
    "Nguyen et al., 2011": Paper("Borderline Over-sampling for Imbalanced Data Classification"),
    "Park et al., 2021": Paper(
        "Influence-Balanced Loss for Imbalanced Visual Classification", "https://arxiv.org/abs/2110.02444"
    ),
    "Park et al., 2022": Paper(
        "The Majority Can Help the Minority: Context-Rich Minority Oversampling for Long-Tailed Classification",
        "https://arxiv.org/abs/2112.00412",
    ),
    "Pascanu et al., 2013": Paper(
        "On the Difficulty of Training Recurrent Neural Networks", "https://arxiv.org/abs/1211.5063"
    ),
    "Polyak and Juditsky, 1992": Paper(
        "Acceleration of Stochastic Approximation by Averaging", "https://doi.org/10.1137/0330046"
    ),
    "Prechelt, 1998": Paper("Early Stopping - But When?"),
    "Ren et al., 2020": Paper(
        "Balanced Meta-Softmax for Long-Tailed Visual Recognition", "https://arxiv.org/abs/2007.10740"
    ),
    "Ridnik et al., 2021": Paper("Asymmetric Loss for Multi-Label Classification", "https://arxiv.org/abs/2009.14119"),
    "Shen et al., 2016": Paper(
        "Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks",
        "https://arxiv.org/abs/1512.05830",
    ),
    "Shwartz-Ziv et al., 2023": Paper(
        "Simplifying Neural Network Training Under Class Imbalance", "https://arxiv.org/abs/2312.02517"
    ),
    "Simard et al., 2003": Paper(
        "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis",
        "https://doi.org/10.1109/ICDAR.2003.1227801",
    ),
    "Smith et al., 2014": Paper(
        "An Instance Level Analysis of Data Complexity", "https://doi.org/10.1007/s10994-013-5422-z"
    ),
    "Srivastava et al., 2014": Paper(
        "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        "https://jmlr.org/papers/v15/srivastava14a.html",
    ),
    "Sun et al., 2025": Paper(
        "Rethinking Classifier Re-Training in Long-Tailed Recognition: Label Over-Smooth Can Balance",
        "https://openreview.net/forum?id=OeKp3AdiVO",
    ),
    "Sutskever et al., 2013": Paper(
        "On the Importance of Initialization and Momentum in Deep Learning",
        "https://proceedings.mlr.press/v28/sutskever13.html",
    ),
    "Szegedy et al., 2016": Paper(
        "Rethinking the Inception Architecture for Computer Vision", "https://arxiv.org/abs/1512.00567"
    ),
    "Tan et al., 2020": Paper(
        "Equalization Loss for Long-Tailed Object Recognition", "https://arxiv.org/abs/2003.05176"
    ),
    "Tomek, 1976": Paper("Two Modifications of CNN", "https://doi.org/10.1109/TSMC.1976.4309452"),
    "Tomek, 1976b": Paper(
        "An Experiment with the Edited Nearest-Neighbor Rule", "https://doi.org/10.1109/TSMC.1976.4309523"
    ),
    "van Rijsbergen, 1979": Paper("Information Retrieval"),
    "Wang et al., 2019": Paper(
        "Symmetric Cross Entropy for Robust Learning with Noisy Labels", "https://arxiv.org/abs/1908.06112"
    ),
    "Wang et al., 2021": Paper("Seesaw Loss for Long-Tailed Instance Segmentation", "https://arxiv.org/abs/2008.10032"),
    "Wilson, 1972": Paper(
        "Asymptotic Properties of Nearest Neighbor Rules Using Edited Data",
        "https://doi.org/10.1109/TSMC.1972.4309137",
    ),
    "Ye et al., 2020": Paper(
        "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
        "https://arxiv.org/abs/2001.01385",
    ),
    "Yen and Lee, 2009": Paper(
        "Cluster-Based Under-Sampling Approaches for Imbalanced Data Distributions",
        "https://doi.org/10.1016/j.eswa.2008.06.108",
    ),
    "Yuan et al., 2021": Paper(
        "Large-Scale Robust Deep AUC Maximization: A New Surrogate Loss and Empirical Studies on Medical Image "
        "Classification",
        "https://arxiv.org/abs/2012.03173",
    ),
    "Yun et al., 2019": Paper(
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        "https://arxiv.org/abs/1905.04899",
    ),
    "Zhang and Mani, 2003": Paper(
        "kNN Approach to Unbalanced Data Distributions: A Case Study Involving Information Extraction"
    ),
    "Zhang and Sabuncu, 2018": Paper(
        "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
        "https://arxiv.org/abs/1805.07836",
    ),
    "Zhang et al., 2018": Paper("mixup: Beyond Empirical Risk Minimization", "https://arxiv.org/abs/1710.09412"),
    "Zhong et al., 2020": Paper("Random Erasing Data Augmentation", "https://arxiv.org/abs/1708.04896"),
    "Zhong et al., 2021": Paper(
        "Improving Calibration for Long-Tailed Recognition", "https://arxiv.org/abs/2104.00466"
    ),
    "Zhou et al., 2020": Paper(
        "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual Recognition",
        "https://arxiv.org/abs/1912.02413",
    ),
    "Zhou et al., 2023": Paper(
        "ImbSAM: A Closer Look at Sharpness-Aware Minimization in Class-Imbalanced Recognition",
        "https://arxiv.org/abs/2308.07815",
    ),
}
