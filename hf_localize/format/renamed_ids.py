"""Well-known datasets that had an id of one segment once, and the ids to which the Hub redirects those.

An entry that was asked for by its old id records both ids. This table is for those that were stored by
their present one: nothing tells a machine that can't ask the Hub what ``glue`` was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hf_localize.format.refs import DatasetRef

#: By owner: names that stayed as they were.
_KEPT = {
    "AI-Lab-Makerere": "beans",
    "CogComp": "trec",
    "EdinburghNLP": "xsum",
    "FiscalNote": "billsum",
    "Harvard": "gigaword",
    "Helsinki-NLP": "opus_books",
    "ILSVRC": "imagenet-1k",
    "Rowan": "hellaswag",
    "Salesforce": "wikitext",
    "Skylion007": "openwebtext",
    "Yelp": "yelp_review_full",
    "abisee": "cnn_dailymail",
    "alexfabbri": "multi_news",
    "allenai": "ai2_arc cosmos_qa math_qa openbookqa qasc quac sciq social_i_qa swag winogrande",
    "aps": "super_glue",
    "armanc": "scientific_papers",
    "bookcorpus": "bookcorpus",
    "cambridgeltl": "xcopa",
    "cardiffnlp": "tweet_eval",
    "cimec": "lambada",
    "code-search-net": "code_search_net",
    "cornell-movie-review-data": "rotten_tomatoes",
    "dair-ai": "emotion",
    "ehovy": "race",
    "eriktks": "conll2002 conll2003",
    "ethz": "food101",
    "facebook": "anli empathetic_dialogues mlqa xnli",
    "fancyzhx": "ag_news amazon_polarity dbpedia_14 yelp_polarity",
    "google": "boolq xquad xtreme",
    "google-research-datasets": "go_emotions mbpp natural_questions paws paws-x tydiqa",
    "hotpotqa": "hotpot_qa",
    "legacy-datasets": "c4 wikipedia",
    "li2017dailydialog": "daily_dialog",
    "mandarjoshi": "trivia_qa",
    "microsoft": "cats_vs_dogs ms_marco wiki_qa",
    "nyu-mll": "blimp glue multi_nli",
    "openai": "gsm8k openai_humaneval",
    "openslr": "librispeech_asr",
    "rajpurkar": "squad squad_v2",
    "stanfordnlp": "coqa imdb snli sst sst2 web_questions",
    "takala": "financial_phrasebank",
    "tau": "commonsense_qa",
    "truthfulqa": "truthful_qa",
    "ucinlp": "drop",
    "uoft-cs": "cifar10 cifar100",
    "wmt": "wmt14 wmt16 wmt19",
    "ybisk": "piqa",
    "ylecun": "mnist",
    "zalando-datasets": "fashion_mnist",
}
_PRESENT: Mapping[str, str] = {
    **{name: f"{owner}/{name}" for owner, names in _KEPT.items() for name in names.split()},
    "opus100": "Helsinki-NLP/opus-100",
    "pubmed_qa": "qiaojin/PubMedQA",
}


def current_id(dataset_id: str) -> str | None:
    """Return what the dataset is called now that was *dataset_id*, in any letter case; None: not known."""
    return _PRESENT.get(dataset_id.lower())


def current_ref(ref: DatasetRef) -> DatasetRef | None:
    """Return *ref* by the present id of its dataset; None: it is that already, or it is not known."""
    dataset_id = current_id(ref.dataset_id)
    return None if dataset_id is None else replace(ref, dataset_id=dataset_id)
