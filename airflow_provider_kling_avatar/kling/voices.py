"""
The voices of Kling's text-to-speech, as far as they are known.

No API lists them. The vendor's list is a web page (https://docs.qingque.cn/s/home/eZQDvafJ4vXQkP8T9ZPvmye8S) that
programs cannot read; what stands here are the ids that several public programs hold for each language, alike (looked up
on 2026-11-29). One of their authors notes that some are not valid any more. Those in `IN_SAMPLES` are in published
samples too. None was tried by us. So nothing is refused for not being here: the list is for messages and for the docs.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = "https://docs.qingque.cn/s/home/eZQDvafJ4vXQkP8T9ZPvmye8S"
AS_OF: Final = "2026-11-29"

VOICES: Final = {
    "en": (
        *(
            "oversea_male1",
            "commercial_lady_en_f-v1",
            "reader_en_m-v1",
            "genshin_vindi2",
            "zhinen_xuesheng",
            "AOT",
        ),
        *(
            "ai_shatang",
            "genshin_klee2",
            "genshin_kirara",
            "ai_kaiya",
            "ai_chenjiahao_712",
            "girlfriend_4_speech02",
        ),
        *(
            "chat1_female_new-3",
            "chat_0407_5-1",
            "cartoon-boy-07",
            "uk_boy1",
            "cartoon-girl-01",
            "PeppaPig_platform",
        ),
        *("ai_huangzhong_712", "ai_huangyaoshi_712", "ai_laoguowang_712", "chengshu_jiejie", "you_pingjing"),
        *("calm_story1", "uk_man2", "laopopo_speech02", "heainainai_speech02"),
    ),
    "zh": (
        *(
            "genshin_vindi2",
            "ai_kaiya",
            "chat1_female_new-3",
            "zhinen_xuesheng",
            "tiyuxi_xuedi",
            "ai_shatang",
        ),
        *("genshin_klee2", "genshin_kirara", "tiexin_nanyou", "ai_chenjiahao_712", "girlfriend_1_speech02"),
        *("girlfriend_2_speech02", "cartoon-boy-07", "cartoon-girl-01", "ai_huangyaoshi_712", "you_pingjing"),
        *("ai_laoguowang_712", "chengshu_jiejie", "zhuxi_speech02", "uk_oldman3", "laopopo_speech02"),
        *(
            "heainainai_speech02",
            "dongbeilaotie_speech02",
            "chongqingxiaohuo_speech02",
            "chuanmeizi_speech02",
        ),
        *(
            "chaoshandashu_speech02",
            "ai_taiwan_man2_speech02",
            "xianzhanggui_speech02",
            "tianjinjiejie_speech02",
        ),
        *("diyinnansang_DB_CN_M_04-v2", "yizhipiannan-v1", "guanxiaofang-v2", "tianmeixuemei-v1"),
        *("daopianyansang-v1", "mengwa-v1"),
    ),
}
"""Language -> ids, those of `IN_SAMPLES` first."""

IN_SAMPLES: Final = {
    "en": ("oversea_male1", "commercial_lady_en_f-v1", "reader_en_m-v1", "genshin_vindi2"),
    "zh": ("genshin_vindi2", "ai_kaiya", "chat1_female_new-3"),
}


def known_voices() -> str:
    """Return the list as messages tell it."""
    lists = "; ".join(f"{language}: {', '.join(ids)}" for language, ids in VOICES.items())
    return f"voices known as of {AS_OF}, not tried by us: {lists}; the vendor's list: {SOURCE}"
