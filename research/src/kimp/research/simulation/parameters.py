"""The knobs of the simulated market, and the setting that resembles 2021-09 to 2024-12.

``CALIBRATED`` was fitted by hand until every recorded figure lay between the lowest and the highest of twenty
simulations of the same length; the funding curve is read off the recorded rates. *Recorded* is the hourly data from
2021-09-01 to 2025-01-01 (Upbit KRW-BTC, Binance BTCUSDT perpetual, ECB fixing); *simulated* the median of seeds 0 to
19. What each figure means: ``calibration.MarketStatistics``; fractions, half-lives in hours::

    figure                    recorded  simulated    lowest   highest
    premium_mean                0.0207     0.0208    0.0151    0.0278
    premium_std                 0.0187     0.0192    0.0151    0.0228
    premium_ar1                   0.99       0.99     0.987     0.992
    premium_after_day            0.895      0.895     0.864      0.92
    premium_after_week           0.686      0.599     0.511     0.701
    change_std                 0.00242    0.00244   0.00212   0.00279
    change_999                  0.0175     0.0179    0.0134    0.0238
    change_autocorrelation      -0.177     -0.166    -0.198    -0.145
    jumps_per_day                0.125      0.152     0.117      0.18
    return_std                 0.00587    0.00575     0.005   0.00669
    return_kurtosis               13.2       11.1      7.78        37
    return_clustering            0.273      0.301     0.265     0.368
    return_clustering_day        0.152      0.156     0.115     0.224
    return_against_change       -0.472     -0.446    -0.513     -0.38
    fx_daily_std               0.00592    0.00593    0.0055    0.0062
    funding_mean              8.27e-05   9.04e-05  7.33e-05  0.000114
    funding_std               0.000106   0.000103  8.45e-05  0.000134
    funding_positive             0.876      0.896     0.803     0.931
    funding_baseline             0.389      0.383      0.33      0.42
    funding_ar1                  0.789       0.79     0.761     0.848
    funding_against_premium      0.181      0.196    0.0511     0.325
    calm.share                   0.832      0.793     0.667     0.903
    calm.mean                   0.0152     0.0147     0.011    0.0167
    calm.std                    0.0126     0.0129     0.012    0.0146
    calm.change_std            0.00193    0.00206   0.00191   0.00219
    calm.half_life                90.4       96.7      78.9       154
    hot.share                    0.138      0.173    0.0764     0.295
    hot.mean                     0.048     0.0472    0.0407    0.0539
    hot.std                      0.018     0.0159     0.013    0.0204
    hot.change_std             0.00253    0.00239   0.00188   0.00276
    hot.half_life                  135        168      92.7       331
    panic.share                   0.03     0.0337    0.0202    0.0423
    panic.mean                  0.0465      0.041    0.0259    0.0519
    panic.std                   0.0285      0.025    0.0182    0.0357
    panic.change_std           0.00786    0.00756   0.00564   0.00902
    panic.half_life               36.5       29.4      8.91      90.3

Minutes were recorded for 2025-09 only, a quiet month: the premium's 5-minute changes had a deviation of 0.055 % and an
autocorrelation of -0.26; months of seeds 0 to 3 show 0.065 to 0.088 % and -0.18 to -0.25.

The table is made again, after any change of a knob, by::

    recorded = measure(read_market(directory, start=start, end=end))
    runs = [measure(simulate_market(seed=seed, start=start, end=end, interval=HOUR)) for seed in range(20)]
    print(comparison(recorded, runs))

What it does not do, so that nobody proves anything with it that it cannot show:

- The price has no drift and no long memory; the premium's memory over a week is a little shorter than the recorded one.
- A single hour like 2024-12-03 13:00 (premium -11.6 %, low of a third below) does not happen; storms add such hours.
- There is no time of day: volatility is the same at night, only the bank rate sleeps.
- KRW-USDT, halts within the hour and volumes were not fitted to years of record: the tether's own spread is an
  assumption, volumes and quiet minutes follow the hourly files and the minutes of 2025-09.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Regime:
    """A mood of the market: the premium it pulls towards (fraction), how restless it is, how long it lasts.

    ``restless`` and ``turbulent`` multiply the volatility of premium and price, ``jumpy`` the number of the premium's
    jumps. ``moves`` weighs which regime follows, in the order of ``MarketParameters.regimes``.
    """

    premium: float
    restless: float
    turbulent: float
    jumpy: float
    days: float
    moves: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class MarketParameters:
    """Everything a simulated market is drawn from.

    Deviations are fractions; ``*_hours`` and ``*_days`` are times to fade by 1/e.

    The premium is a sum: ``level`` follows the regime, ``wander`` strays for weeks, ``swing`` for a day or two,
    ``flutter`` for an hour or so, ``noise`` for a minute. ``swing_lag`` and ``flutter_lag`` are the share of each
    price move that Korea does not follow at first, which is why the premium falls when the price jumps up.
    """

    regimes: tuple[Regime, Regime, Regime]

    price: float  # USDT per coin at the start
    price_std: float  # of a minute's return, before its volatility strays
    volatility_fast_hours: float
    volatility_fast_std: float  # of the logarithm
    volatility_slow_days: float
    volatility_slow_std: float
    price_jumps_per_day: float
    price_jump_std: float

    level_days: float
    wander_days: float
    wander_std: float
    swing_hours: float
    swing_std: float
    swing_lag: float
    flutter_hours: float
    flutter_std: float
    flutter_lag: float
    noise_std: float
    restless_hours: float
    restless_std: float  # of the logarithm
    restless_with_price: float  # exponent: 1 is fully proportional to the price's volatility
    premium_jumps_per_day: float
    premium_jump_std: float

    tether_share: float  # how much of the swing KRW-USDT shares; all of level and wander
    tether_hours: float
    tether_std: float  # of its own spread

    fx: float  # KRW per USD at the start
    fx_daily_std: float
    fx_restless: float  # deviation of the logarithm of a day's volatility
    fx_home_days: float

    funding_curve: tuple[tuple[float, float], ...]  # (standard normal quantile, rate)
    funding_with_premium: float
    funding_fast_days: float
    funding_slow_days: float
    funding_slow_share: float  # of the variance

    quiet_minutes_per_day: float  # without a trade on Upbit
    halts_per_year: float  # of Upbit; 0 for none
    halt_hours: float
    korea_volume: float  # coins per minute
    abroad_volume: float
    volume_std: float  # of the logarithm

    korea_tick: float = 1_000.0
    abroad_tick: float = 0.1
    fx_tick: float = 0.1
    tether_tick: float = 1.0


CALIBRATED = MarketParameters(
    regimes=(
        Regime(premium=0.0132, restless=0.76, turbulent=1.0, jumpy=1.0, days=50.0, moves=(0.0, 0.55, 0.45)),
        Regime(premium=0.057, restless=1.35, turbulent=1.05, jumpy=1.8, days=10.0, moves=(0.35, 0.0, 0.65)),
        Regime(premium=0.060, restless=5.5, turbulent=1.6, jumpy=28.0, days=1.3, moves=(0.6, 0.4, 0.0)),
    ),
    price=60_000.0,
    price_std=0.00049,
    volatility_fast_hours=5.0,
    volatility_fast_std=0.40,
    volatility_slow_days=12.0,
    volatility_slow_std=0.48,
    price_jumps_per_day=0.11,
    price_jump_std=0.018,
    level_days=3.0,
    wander_days=26.0,
    wander_std=0.0108,
    swing_hours=36.0,
    swing_std=0.0030,
    swing_lag=0.12,
    flutter_hours=1.2,
    flutter_std=0.00070,
    flutter_lag=0.105,
    noise_std=0.00037,
    restless_hours=18.0,
    restless_std=0.35,
    restless_with_price=0.5,
    premium_jumps_per_day=0.06,
    premium_jump_std=0.0085,
    tether_share=0.8,
    tether_hours=3.0,
    tether_std=0.0012,
    fx=1_306.5,
    fx_daily_std=0.0059,
    fx_restless=0.45,
    fx_home_days=250.0,
    funding_curve=(
        (-4.0, -2.5e-4),
        (-3.0, -2.135e-4),
        (-2.5, -1.245e-4),
        (-2.0, -0.726e-4),
        (-1.645, -0.367e-4),
        (-1.282, -0.087e-4),
        (-1.0, 0.089e-4),
        (-0.75, 0.254e-4),
        (-0.5, 0.437e-4),
        (-0.25, 0.676e-4),
        (-0.04, 1.0e-4),
        (1.05, 1.0e-4),
        (1.282, 1.256e-4),
        (1.645, 2.716e-4),
        (2.0, 4.028e-4),
        (2.5, 5.745e-4),
        (3.0, 7.371e-4),
        (4.0, 9.0e-4),
    ),
    funding_with_premium=0.25,
    funding_fast_days=1.2,
    funding_slow_days=20.0,
    funding_slow_share=0.45,
    quiet_minutes_per_day=0.06,
    halts_per_year=5.4,
    halt_hours=2.6,
    korea_volume=3.66,
    abroad_volume=266.0,
    volume_std=1.0,
)
