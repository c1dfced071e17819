// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title Integer arithmetic of a linear price curve: price(x) = base + slope * x, in wei per whole token.
/// @dev Checked arithmetic throughout; what overflows ends in Panic(0x11). Division rounds down.
library Curve {
    /// @return Wei from supply `from` up to supply `to`.
    /// @dev from + to is formed even for an empty range, and slope * n before the product with it:
    ///      both decide which huge arguments panic.
    function cost(uint256 base, uint256 slope, uint256 from, uint256 to) internal pure returns (uint256) {
        uint256 n = to - from;
        return base * n + (slope * n * (from + to)) / 2;
    }

    /// @return The largest n with 2*base*n + slope*n*(2*supply + n) <= 2*payment: the unrounded cost counts.
    function affordable(uint256 base, uint256 slope, uint256 supply, uint256 payment)
        internal
        pure
        returns (uint256)
    {
        if (payment == 0) return 0;
        if (slope == 0) return base == 0 ? 0 : payment / base;
        uint256 q = 2 * base + 2 * slope * supply;
        uint256 r = squareRoot(q * q + 8 * slope * payment);
        return r > q ? (r - q) / (2 * slope) : 0;
    }

    /// @return The floor of the square root, for every 256-bit number.
    function squareRoot(uint256 x) internal pure returns (uint256) {
        if (x == 0) return 0;
        unchecked {
            // A power of two above the root; Newton's steps then fall until they reach its floor.
            uint256 bits = 0;
            for (uint256 rest = x; rest != 0; rest >>= 2) ++bits;
            uint256 guess = uint256(1) << bits;
            while (true) {
                uint256 next = (guess + x / guess) >> 1;
                if (next >= guess) return guess;
                guess = next;
            }
        }
        return 0;
    }
}
