"""The rivals of both systems, each tuned as ours are.

Feature functions take uint8 RGB frames and return float32 rows, one a sample, computed from that sample alone; classifiers are scikit-learn
pipelines whose scaler is fitted with the classifier, hence on training rows only. Networks are plain modules.

    stills             hog (logistic regression), small_cnn, au_oracle (the ceiling: the generator's own action units)
    micro-expressions  frame_difference, optical_flow, lbp_top (linear SVM each), three_stream (flow), difference_vit
    both               majority
"""
