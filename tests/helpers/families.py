"""Small models with the structure of those that people use: random weights, tokenizers of their kind trained here.

What an embedding means is lost with the weights. That every backend computes what Sentence Transformers does is not:
pooling, padding, prompts, tokens, further modules and types of files are those of the models named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from embedgate.data import load_calibration

SEED = 7
WORDS = 2000
HIDDEN = 64
LIMIT = 128
SIZES = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
# Weights of the usual spread would leave all texts alike after two layers.
SPREAD = {"initializer_range": 0.1}
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
NO_TYPES = {"model_input_names": ["input_ids", "attention_mask"]}
QWEN_PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
GEMMA_PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "STS": "task: sentence similarity | query: ",
    "Clustering": "task: clustering | query: ",
    "PairClassification": "task: sentence similarity | query: ",
}


@dataclass(frozen=True)
class Family:
    """Models of one structure.

    Attributes:
        name: The architecture.
        like: Models that people use.
        traits: What sets it apart.
        write: Writes a small one into an empty folder.
    """

    name: str
    like: str
    traits: str
    write: Callable[[Path], None] = field(repr=False)

    def __str__(self) -> str:
        return self.name


def wordpiece() -> Tokenizer:
    """As BERT reads: lower case, pieces of words."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return _trained(made, trainers.WordPieceTrainer, BERT_TOKENS, "[CLS] $A [SEP]")


def byte_pairs(tokens: Sequence[str], single: str) -> Tokenizer:
    """As RoBERTa, ModernBERT and Qwen read: pairs of bytes, case kept."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(made, partial(trainers.BpeTrainer, initial_alphabet=alphabet), tokens, single)


def unigrams(tokens: Sequence[str], single: str) -> Tokenizer:
    """As SentencePiece's models read: XLM-RoBERTa, T5, DeBERTa."""
    unknown = next(token for token in tokens if "unk" in token.lower())
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return _trained(made, partial(trainers.UnigramTrainer, unk_token=unknown), tokens, single)


@cache
def _texts() -> tuple[str, ...]:
    return tuple(load_calibration()[0])


def _trained(made: Tokenizer, trainer: Callable[..., Any], tokens: Sequence[str], single: str) -> Tokenizer:
    made.train_from_iterator(_texts(), trainer(vocab_size=WORDS, special_tokens=list(tokens), show_progress=False))
    special = [(token, made.token_to_id(token)) for token in tokens if token in single]
    made.post_processor = processors.TemplateProcessing(single=single, pair=f"{single} $B", special_tokens=special)
    return made


def of_transformer(
    folder: Path,
    *,
    tokenizer: Callable[[], Tokenizer],
    config: str,
    named: Mapping[str, str],
    settings: Mapping[str, Any],
    pooling: str = "mean",
    modules: Callable[[], Sequence[torch.nn.Module]] = lambda: [Normalize()],
    dtype: torch.dtype = torch.float32,
    shard: str | None = None,
    tokenizer_settings: Mapping[str, Any] = {},
    **sentence_transformer: Any,
) -> None:
    """Writes a Sentence Transformer that begins with a transformer.

    Args:
        folder: Where it goes.
        tokenizer: Makes its tokenizer.
        config: Name of its config's class in transformers; the model's class is named alike.
        named: Its special tokens by their part, for example `pad_token`.
        settings: Its config's.
        pooling: How tokens become one embedding.
        modules: Makes what follows the pooling.
        dtype: Type its weights are saved in.
        shard: Largest size of a file of weights; None for one file.
        tokenizer_settings: Its tokenizer's, besides its tokens.
        **sentence_transformer: Prompts, similarity and truncation.
    """
    made = tokenizer()
    bare, whole = folder / "bare", folder / "whole"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=LIMIT, **named, **tokenizer_settings
    ).save_pretrained(bare)
    ids = {f"{part}_id": made.token_to_id(token) for part, token in named.items() if part in _COUNTED}
    torch.manual_seed(SEED)
    chosen = getattr(transformers, config)(vocab_size=made.get_vocab_size(), **{**ids, **settings})
    model = getattr(transformers, settings.get("model", config.replace("Config", "Model")))(chosen)
    model.to(dtype).save_pretrained(bare)
    loaded = Transformer(str(bare), model_kwargs={"dtype": dtype})
    torch.manual_seed(SEED)
    after = [Pooling(loaded.get_embedding_dimension(), pooling), *modules()]
    SentenceTransformer(modules=[loaded, *after], device="cpu", **sentence_transformer).save_pretrained(str(whole))
    if shard:
        (whole / "model.safetensors").unlink()
        loaded.model.save_pretrained(whole, max_shard_size=shard)
    shutil.rmtree(bare)
    for file in whole.iterdir():
        file.rename(folder / file.name)
    whole.rmdir()


_COUNTED = ("pad_token", "bos_token", "eos_token", "cls_token", "sep_token")


def bert(folder: Path, **given: Any) -> None:
    """BGE's like: the first token's state is the embedding."""
    settings = {"model": "BertModel", "max_position_embeddings": LIMIT, **SIZES, **SPREAD}
    chosen: dict[str, Any] = {"pooling": "cls", **given}
    of_transformer(folder, tokenizer=wordpiece, config="BertConfig", named=BERT_NAMES, settings=settings, **chosen)


def distilbert(folder: Path) -> None:
    sizes = {"dim": HIDDEN, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "max_position_embeddings": LIMIT}
    of_transformer(
        folder,
        tokenizer=wordpiece,
        config="DistilBertConfig",
        named=BERT_NAMES,
        settings={**sizes, **SPREAD},
        modules=lambda: [],
        tokenizer_settings=NO_TYPES,
    )


def roberta(folder: Path) -> None:
    _like_roberta(folder, "RobertaConfig", lambda: byte_pairs(ROBERTA_TOKENS, "<s> $A </s>"))


def xlm_roberta(folder: Path, **given: Any) -> None:
    """Multilingual E5's like; "passage" is the name that its older models keep the prompt of documents under."""
    prompts = {"query": "query: ", "passage": "passage: ", "document": "passage: "}
    _like_roberta(folder, "XLMRobertaConfig", lambda: unigrams(ROBERTA_TOKENS, "<s> $A </s>"), prompts=prompts, **given)


def mpnet(folder: Path) -> None:
    """multi-qa-mpnet-base-dot-v1's like: not normalised, compared by the dot product."""
    _like_roberta(
        folder,
        "MPNetConfig",
        lambda: unigrams(ROBERTA_TOKENS, "<s> $A </s>"),
        pooling="cls",
        modules=lambda: [],
        similarity_fn_name="dot",
    )


def _like_roberta(folder: Path, config: str, tokenizer: Callable[[], Tokenizer], **given: Any) -> None:
    tokens = ("bos_token", "cls_token", "pad_token", "eos_token", "sep_token", "unk_token", "mask_token")
    named = dict(zip(tokens, ("<s>", "<s>", "<pad>", "</s>", "</s>", "<unk>", "<mask>"), strict=True))
    # Positions are counted from the padding's id.
    settings = {"max_position_embeddings": LIMIT + 2, **SIZES, **SPREAD}
    of_transformer(
        folder,
        tokenizer=tokenizer,
        config=config,
        named=named,
        settings=settings,
        tokenizer_settings=NO_TYPES,
        **given,
    )


def deberta(folder: Path) -> None:
    relative = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "type_vocab_size": 0,
    }
    of_transformer(
        folder,
        tokenizer=lambda: unigrams(BERT_TOKENS, "[CLS] $A [SEP]"),
        config="DebertaV2Config",
        named=BERT_NAMES,
        settings={"max_position_embeddings": LIMIT, "position_biased_input": False, **relative, **SIZES, **SPREAD},
    )


def albert(folder: Path) -> None:
    """Layers share their weights, which are too large for the exporter to transpose them once for all."""
    of_transformer(
        folder,
        tokenizer=lambda: unigrams(BERT_TOKENS, "[CLS] $A [SEP]"),
        config="AlbertConfig",
        named=BERT_NAMES,
        settings={**SIZES, **SPREAD, "embedding_size": 32, "intermediate_size": 4160, "num_hidden_layers": 3},
    )


def modernbert(folder: Path) -> None:
    """gte-modernbert-base's like: no token types, windows of attention, files in float16, not normalised."""
    of_transformer(
        folder,
        tokenizer=lambda: byte_pairs(BERT_TOKENS, "[CLS] $A [SEP]"),
        config="ModernBertConfig",
        named={**BERT_NAMES, "bos_token": "[CLS]", "eos_token": "[SEP]"},
        settings={
            "max_position_embeddings": LIMIT,
            "global_attn_every_n_layers": 2,
            "local_attention": 16,
            **SIZES,
            **SPREAD,
        },
        pooling="cls",
        modules=lambda: [],
        dtype=torch.float16,
        tokenizer_settings=NO_TYPES,
    )


def nomic_bert(folder: Path) -> None:
    of_transformer(
        folder,
        tokenizer=wordpiece,
        config="NomicBertConfig",
        named=BERT_NAMES,
        settings={"max_position_embeddings": LIMIT, **SIZES, **SPREAD},
        prompts={"query": "search_query: ", "document": "search_document: ", "Clustering": "clustering: "},
    )


def t5(folder: Path) -> None:
    """sentence-t5's and GTR's like: an encoder of T5's, and a dense layer after the pooling."""
    of_transformer(
        folder,
        tokenizer=lambda: unigrams(("<pad>", "</s>", "<unk>"), "$A </s>"),
        config="T5Config",
        named={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        settings={
            "model": "T5EncoderModel",
            "d_model": HIDDEN,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 2,
            "num_heads": 4,
        },
        modules=lambda: [Dense(HIDDEN, 96, bias=False, activation_function=torch.nn.Identity()), Normalize()],
        tokenizer_settings=NO_TYPES,
    )


def qwen3(folder: Path) -> None:
    """Qwen3-Embedding's like: the last token's state, padding on the left by the token that ends a text, bfloat16."""
    end = "<|endoftext|>"
    of_transformer(
        folder,
        tokenizer=lambda: byte_pairs((end, "<|im_start|>", "<|im_end|>"), f"$A {end}"),
        config="Qwen3Config",
        named={"pad_token": end, "eos_token": "<|im_end|>"},
        # Named in its config, the padding's embedding would be 0, and here it ends every text.
        settings={
            "pad_token_id": None,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 2 * LIMIT,
            **SIZES,
            **SPREAD,
        },
        pooling="lasttoken",
        dtype=torch.bfloat16,
        tokenizer_settings={"padding_side": "left", **NO_TYPES},
        prompts={"query": QWEN_PROMPT, "document": ""},
    )


def gemma(folder: Path) -> None:
    """EmbeddingGemma's like: attention both ways, two dense layers, a prompt for each task."""
    of_transformer(
        folder,
        tokenizer=lambda: unigrams(("<pad>", "<eos>", "<bos>", "<unk>"), "<bos> $A <eos>"),
        config="Gemma3TextConfig",
        named={"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
        settings={
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 2 * LIMIT,
            "sliding_window": 64,
            "use_bidirectional_attention": True,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            **SIZES,
            **SPREAD,
        },
        modules=lambda: [
            Dense(HIDDEN, 128, bias=False, activation_function=torch.nn.Identity()),
            Dense(128, HIDDEN, bias=False, activation_function=torch.nn.Identity()),
            Normalize(),
        ],
        tokenizer_settings=NO_TYPES,
        prompts=GEMMA_PROMPTS,
    )


def static(folder: Path) -> None:
    """A table of embeddings by token, as model2vec's potion has: no matrix product at all."""
    torch.manual_seed(SEED)
    modules = [StaticEmbedding(_bare_wordpiece(), embedding_dim=HIDDEN), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))


def router(folder: Path) -> None:
    """Queries through a table, documents through a transformer."""
    inner = folder / "inner"
    bert(inner)
    torch.manual_seed(SEED)
    table = StaticEmbedding(_bare_wordpiece(), embedding_dim=HIDDEN)
    documents = [Transformer(str(inner)), Pooling(HIDDEN, "mean")]
    routes = Router.for_query_document(query_modules=[table], document_modules=documents)
    SentenceTransformer(modules=[routes, Normalize()], device="cpu").save_pretrained(str(folder))
    shutil.rmtree(inner)


def mapped_router(folder: Path) -> None:
    """As `router`, with routes of other names, which are chosen by task and modality."""
    router(folder)
    made = SentenceTransformer(str(folder), device="cpu")
    chosen = {"queries": made[0].sub_modules["query"], "texts": made[0].sub_modules["document"]}
    mappings = {("query", "text"): "queries", ("document", None): "texts", (None, "text"): "queries"}
    routes = Router({name: list(modules) for name, modules in chosen.items()}, route_mappings=mappings)
    _empty(folder)
    SentenceTransformer(modules=[routes, made[1]], device="cpu").save_pretrained(str(folder))


def asym(folder: Path) -> None:
    """As `router`, as versions before 5 wrote it: another class, and its config in `config.json`."""
    router(folder)
    config = json.loads((folder / "router_config.json").read_text())
    (folder / "router_config.json").unlink()
    config["parameters"] = {"allow_empty_key": True}
    (folder / "config.json").write_text(json.dumps(config))
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.models.Asym"
    (folder / "modules.json").write_text(json.dumps(modules))


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()


def clip(folder: Path) -> None:
    """clip-ViT-B-32's like, whose text side is gated: one module, and images beside texts."""
    own = folder / "0_CLIPModel"
    tokens = ("<|startoftext|>", "<|endoftext|>")
    made = byte_pairs(tokens, f"{tokens[0]} $A {tokens[1]}")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=77,
        bos_token=tokens[0],
        eos_token=tokens[1],
        unk_token=tokens[1],
        pad_token=tokens[1],
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(own)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**SIZES, **ids, "vocab_size": made.get_vocab_size()},
        vision_config={**SIZES, "image_size": 32, "patch_size": 16},
        projection_dim=48,
    )
    torch.manual_seed(SEED)
    transformers.CLIPModel(config).save_pretrained(own)
    images = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
    (own / "preprocessor_config.json").write_text(json.dumps(images))
    module = {"idx": 0, "name": "0", "path": own.name, "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]))


def _bare_wordpiece() -> Tokenizer:
    """A table needs no special tokens."""
    made = wordpiece()
    made.post_processor = None
    return made


FAMILIES = (
    Family("BERT", "bge-*-en-v1.5, gte-*, all-MiniLM-*", "first token", bert),
    Family("BERT, sharded", "large models", "files of weights in parts", partial(bert, shard="100KB")),
    Family(
        "BERT, bfloat16 files", "recent checkpoints", "weights saved in bfloat16", partial(bert, dtype=torch.bfloat16)
    ),
    Family("BERT, truncated", "Matryoshka models", "`truncate_dim` 32 of 64", partial(bert, truncate_dim=32)),
    Family(
        "BERT, no token types",
        "re-saved models",
        "mean; a tokenizer without `token_type_ids`",
        partial(bert, pooling="mean", tokenizer_settings=NO_TYPES),
    ),
    Family("DistilBERT", "msmarco-distilbert-*", "mean, not normalised", distilbert),
    Family("RoBERTa", "all-distilroberta-v1", "mean, pairs of bytes", roberta),
    Family("XLM-RoBERTa", "multilingual-e5-*, bge-m3, arctic-embed-l-v2", "mean, prompts", xlm_roberta),
    Family("MPNet", "multi-qa-mpnet-base-dot-v1", "first token, dot product", mpnet),
    Family("DeBERTa-v2", "mdeberta models", "mean, relative positions", deberta),
    Family("ALBERT", "paraphrase-albert-small-v2", "mean, layers of the same weights", albert),
    Family("ModernBERT", "gte-modernbert-base, nomic modernbert", "first token, float16 files", modernbert),
    Family("NomicBERT", "nomic-embed-text-v1.5", "mean, prompts for tasks", nomic_bert),
    Family("T5", "sentence-t5-*, gtr-t5-*", "mean, a dense layer", t5),
    Family("Qwen3", "Qwen3-Embedding-*", "last token, padding on the left", qwen3),
    Family("Gemma 3", "embeddinggemma-300m", "mean, two dense layers, prompts for tasks", gemma),
    Family("static", "potion-*, static-retrieval-mrl-*", "a table of embeddings", static),
    Family("CLIP", "clip-ViT-*", "text beside images; needs Pillow", clip),
    Family("Router", "asymmetric models", "a table for queries, a transformer for documents", router),
)


@dataclass(frozen=True)
class Refused:
    """A folder that embedgate takes for no model that it can gate.

    Attributes:
        name: Its kind.
        change: Makes one of a sound model's folder.
        says: What the message says of it.
    """

    name: str
    change: Callable[[Path], None] = field(repr=False)
    says: str

    def __str__(self) -> str:
        return self.name


def _set(file: str, **settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**known, **settings}))

    return change


def _sparse(folder: Path) -> None:
    _describe(folder, "base.modules.Transformer", "sparse_encoder.modules.SpladePooling")


def _of_several_vectors(folder: Path) -> None:
    _describe(folder, "base.modules.Transformer", "multi_vector_encoder.modules.MultiVectorMask")


def _without(*files: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return change


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


DENSE = "encoder.layer.1.output.dense.weight"


def _with_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        weights = load_file(file)
        change(weights)
        save_file(weights, file, {"format": "pt"})

    return write


def _images_alone(folder: Path) -> None:
    shutil.rmtree(folder)
    sizes = {**SIZES, "image_size": 32, "patch_size": 16}
    transformers.ViTModel(transformers.ViTConfig(**sizes)).save_pretrained(folder)
    _set("preprocessor_config.json", image_processor_type="ViTImageProcessor")(folder)
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    _set(
        "sentence_bert_config.json",
        transformer_task="feature-extraction",
        modality_config={"image": output},
        module_output_name="token_embeddings",
    )(folder)
    _describe(folder, "base.modules.Transformer", "sentence_transformer.modules.Pooling")
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    Pooling(HIDDEN, "mean").save(str(pooling))
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = pooling.name
    (folder / "modules.json").write_text(json.dumps(modules))


def _describe(folder: Path, *kinds: str) -> None:
    modules = [
        {"idx": place, "name": str(place), "path": "", "type": f"sentence_transformers.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


QUANTIZED = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
REFUSED = (
    Refused(
        "cross-encoders, rerankers",
        _set("config_sentence_transformers.json", model_type="CrossEncoder"),
        "is a CrossEncoder",
    ),
    Refused("sparse encoders (SPLADE)", _sparse, "is a SparseEncoder"),
    Refused("encoders of several vectors per text (ColBERT)", _of_several_vectors, "is a MultiVectorEncoder"),
    Refused("models of images alone", _images_alone, "embeds image, and no text"),
    Refused(
        "weights that are quantized already", _set("config.json", **QUANTIZED), "are quantized already (bitsandbytes)"
    ),
    Refused(
        "weights that are quantized, and no config says how",
        _with_weights(lambda weights: weights.update({DENSE: weights[DENSE].to(torch.int8)})),
        f"quantized already ({DENSE} in I8)",
    ),
    Refused(
        "adapters without their model",
        _set("adapter_config.json", base_model_name_or_path="org/base"),
        "an adapter of org/base",
    ),
    Refused(
        "architectures of their own code",
        _set("config.json", model_type="own", auto_map={"AutoModel": "own.Own"}),
        "asks for remote code (auto_map)",
    ),
    Refused("pickled weights", _pickled, "holds pickle weights only"),
    Refused(
        "settings that load other files",
        _set("sentence_bert_config.json", model_args={"use_safetensors": False}),
        "sets model_args.use_safetensors to False",
    ),
    Refused("weights that are missing", _with_weights(lambda weights: weights.pop(DENSE)), f"lack {DENSE}"),
    Refused(
        "weights of another shape",
        _with_weights(lambda weights: weights.update({DENSE: weights[DENSE][1:].clone()})),
        f"hold {DENSE} of shape [63, 128]",
    ),
    Refused("models without a tokenizer", _without("tokenizer.json", "tokenizer_config.json"), "has no tokenizer.json"),
    Refused("modules without their config", _without("1_Pooling/config.json"), "1_Pooling/config.json is missing"),
    Refused(
        "modules that make no embedding",
        lambda folder: _describe(folder, "base.modules.Transformer"),
        "names no module that makes an embedding",
    ),
    Refused(
        "settings of another form",
        _set("sentence_bert_config.json", max_seq_length="lots"),
        "max_seq_length that is no number of tokens",
    ),
)
