"""The account over raw HTTP: margins, positions, income and settings, and that they add up."""

from decimal import Decimal
from typing import Any

import pytest

from kimp.portfolio.exchange.binance_wire import ApiKey
from kimp.shared.domain.money import Amount
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND

INCOME = "/fapi/v1/income"


async def sell(rig: Any, quantity: str, **params: Any) -> Any:
    return await rig.order(timeInForce="IOC", price="99000", quantity=quantity, **params)


def test_balances_margins_and_positions_agree_with_each_other(tell: Any) -> None:
    async def story(rig: Any) -> None:
        await sell(rig, "0.2")
        await rig.order(quantity="0.1")
        rig.show("100500")
        account = (await rig.signed("GET", "/fapi/v3/account")).json
        (asset,) = account["assets"]
        (position,) = account["positions"]
        assert position["positionAmt"] == "-0.200"
        assert Decimal(asset["walletBalance"]) == Decimal("99990")
        assert Decimal(asset["unrealizedProfit"]) == Decimal("-100.01")
        assert Decimal(asset["positionInitialMargin"]) == Decimal(20_000)
        assert Decimal(asset["availableBalance"]) == Decimal(asset["marginBalance"]) - Decimal(asset["initialMargin"])
        free = rig.exchange.simulated.free("USDT")
        assert Decimal(asset["availableBalance"]) == free.quantize(Decimal("0.00000001"))
        (balance,) = (await rig.signed("GET", "/fapi/v3/balance")).json
        assert balance["balance"] == asset["walletBalance"]
        (risk,) = (await rig.signed("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")).json
        assert Decimal(risk["entryPrice"]) == 100_000
        assert Decimal(risk["markPrice"]) == Decimal("100500.05")
        assert Decimal(risk["liquidationPrice"]) > 500_000
        assert len((await rig.signed("GET", "/fapi/v2/positionRisk")).json) == 2
        whole = (await rig.signed("GET", "/fapi/v2/account")).json
        assert {entry["symbol"] for entry in whole["positions"]} == {"BTCUSDT", "ETHUSDT"}
        assert whole["totalWalletBalance"] == account["totalWalletBalance"]
        assert (await rig.signed("GET", "/fapi/v2/balance")).json[0]["balance"] == asset["walletBalance"]

    tell(story)


def test_income_explains_the_wallet_to_the_last_digit(tell: Any) -> None:
    async def story(rig: Any) -> None:
        await sell(rig, "0.3")
        rig.fund("0.0001", settles_at=rig.clock.now() + HOUR)
        await rig.clock.advance(HOUR)
        rig.show("100200")
        rig.fund("-0.0002", settles_at=rig.clock.now() + MINUTE)
        await rig.clock.advance(MINUTE)
        rig.show("100200")
        await rig.signed(
            "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1", reduceOnly="true"
        )
        async with rig.listening("/private/ws") as listener:
            rig.exchange.move_funds("in-1", Amount(Decimal("250.5"), "USDT"))
            await listener.ask("LIST_SUBSCRIPTIONS")
        records = (await rig.signed("GET", INCOME, limit=1000)).json
        assert {record["incomeType"] for record in records} == {"COMMISSION", "REALIZED_PNL", "FUNDING_FEE", "TRANSFER"}
        total = sum(Decimal(record["income"]) for record in records)
        assert Decimal(100_000) + total == rig.exchange.simulated.balances["USDT"]
        assert len({record["tranId"] for record in records}) == len(records)
        funding, second = (await rig.signed("GET", INCOME, incomeType="FUNDING_FEE", symbol="BTCUSDT")).json
        assert Decimal(funding["income"]) > 0, "a positive rate pays the short"
        assert Decimal(second["income"]) < 0
        assert isinstance(funding["tranId"], int)
        later = await rig.signed("GET", INCOME, startTime=funding["time"] + 1)
        assert funding not in later.json
        assert funding in (await rig.signed("GET", INCOME, startTime=funding["time"])).json
        assert second in later.json
        pages = [(await rig.signed("GET", INCOME, startTime=1, limit=2, page=page)).json for page in (1, 2, 3)]
        assert [record for page in pages for record in page] == records
        assert (await rig.signed("GET", INCOME, limit=1)).json == records[-1:]

    tell(story)


def test_settled_funding_rates_are_history_and_odd_intervals_are_listed(tell: Any) -> None:
    async def story(rig: Any) -> None:
        due = rig.clock.now() + HOUR
        rig.fund("0.0003", settles_at=due, interval=4 * HOUR)
        index = (await rig.ask("GET", "/fapi/v1/premiumIndex", symbol="BTCUSDT")).json
        assert (index["lastFundingRate"], index["nextFundingTime"]) == ("0.0003", due // MILLISECOND)
        (info,) = (await rig.ask("GET", "/fapi/v1/fundingInfo")).json
        assert (info["symbol"], info["fundingIntervalHours"]) == ("BTCUSDT", 4)
        await rig.clock.advance(HOUR)
        rig.fund("-0.0001", settles_at=due + 8 * HOUR)
        async with rig.listening("/market/ws/btcusdt@markPrice@1s") as listener:
            await rig.clock.advance(SECOND)
            mark = await listener.until("markPriceUpdate")
        assert (mark["r"], mark["T"]) == ("-0.0001", (due + 8 * HOUR) // MILLISECOND)
        (settled,) = (await rig.ask("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT")).json
        assert (settled["fundingRate"], settled["fundingTime"]) == ("0.0003", due // MILLISECOND)
        assert (await rig.ask("GET", "/fapi/v1/fundingInfo")).json == []

    tell(story)


def test_settings_are_kept_or_refused_with_the_venues_codes(tell: Any) -> None:
    async def story(rig: Any) -> None:
        dual = "/fapi/v1/positionSide/dual"
        assert (await rig.signed("POST", dual, dualSidePosition="false")).refusal[1] == -4059
        assert (await rig.signed("POST", dual, dualSidePosition="true")).json["code"] == 200
        assert (await rig.signed("GET", dual)).json == {"dualSidePosition": True}
        assert (await sell(rig, "0.1")).refusal[1] == -4061
        assert (await rig.signed("POST", dual, dualSidePosition="false")).json["code"] == 200
        margin = "/fapi/v1/marginType"
        assert (await rig.signed("POST", margin, symbol="BTCUSDT", marginType="CROSSED")).refusal[1] == -4046
        assert (await rig.signed("POST", margin, symbol="BTCUSDT", marginType="ISOLATED")).refusal[1] == -1130
        leverage = "/fapi/v1/leverage"
        changed = await rig.signed("POST", leverage, symbol="BTCUSDT", leverage=5)
        assert changed.json["leverage"] == 5
        assert (await rig.signed("POST", leverage, symbol="BTCUSDT", leverage=126)).refusal[1] == -4028
        assert (await rig.signed("POST", leverage, symbol="BTCUSDT", leverage="x")).refusal[1] == -1102
        assert (await sell(rig, "4")).status == 200
        await rig.order(quantity="0.1")
        assert (await rig.signed("POST", leverage, symbol="BTCUSDT", leverage=1)).refusal[1] == -2028
        assert (await rig.signed("POST", dual, dualSidePosition="true")).refusal[1] == -4067
        assert (await rig.signed("POST", margin, symbol="BTCUSDT", marginType="ISOLATED")).refusal[1] == -4047
        await rig.signed("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
        assert (await rig.signed("POST", dual, dualSidePosition="true")).refusal[1] == -4068
        assert (await rig.signed("POST", margin, symbol="BTCUSDT", marginType="ISOLATED")).refusal[1] == -4048
        assert (await rig.signed("GET", "/fapi/v1/multiAssetsMargin")).json == {"multiAssetsMargin": False}
        assert (await rig.signed("GET", "/fapi/v1/feeBurn")).json == {"feeBurn": False}
        await rig.signed("POST", "/fapi/v1/feeBurn", feeBurn="true")
        assert (await rig.signed("GET", "/fapi/v1/feeBurn")).json == {"feeBurn": True}
        rate = (await rig.signed("GET", "/fapi/v1/commissionRate", symbol="BTCUSDT")).json
        assert rate["takerCommissionRate"] == "0.0005"
        (bracket,) = (await rig.signed("GET", "/fapi/v1/leverageBracket", symbol="BTCUSDT")).json
        assert bracket["brackets"][0]["maintMarginRatio"] == 0.004
        assert (await rig.signed("GET", "/fapi/v1/symbolConfig", symbol="BTCUSDT")).json[0]["leverage"] == 5
        assert (await rig.signed("GET", "/fapi/v1/accountConfig")).json["dualSidePosition"] is False

    tell(story)


def test_a_key_tells_what_it_may_do(tell: Any) -> None:
    async def story(rig: Any) -> None:
        told = (await rig.signed("GET", "/sapi/v1/account/apiRestrictions")).json
        assert (told["enableFutures"], told["enableWithdrawals"], told["ipRestrict"]) == (True, False, False)
        rig.key = "D" * 64
        told = (await rig.signed("GET", "/sapi/v1/account/apiRestrictions")).json
        assert (told["enableWithdrawals"], told["ipRestrict"]) == (True, True)
        assert (await rig.signed("GET", "/sapi/v1/capital/config/getall")).json == []

    tell(story, keys={"D" * 64: ApiKey("s" * 64, may_withdraw=True, addresses=("127.0.0.1",))})


@pytest.mark.parametrize("path", ["/fapi/v1/allOrders", "/fapi/v1/userTrades", "/fapi/v1/commissionRate"])
def test_a_symbol_that_is_missing_or_unknown_is_told(tell: Any, path: str) -> None:
    async def story(rig: Any) -> None:
        assert (await rig.signed("GET", path)).refusal[1] == -1102
        assert (await rig.signed("GET", path, symbol="")).refusal[1] == -1102
        assert (await rig.signed("GET", path, symbol="XUSDT")).refusal == (400, -1121, "Invalid symbol.")

    tell(story)
