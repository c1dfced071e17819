// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title One lock shared by the functions that carry the modifier.
abstract contract ReentrancyLock {
    error ReentrancyGuardReentrantCall();

    uint256 private constant OPEN = 1;
    uint256 private constant HELD = 2;

    // Never zero after construction: changing a non-zero slot is the cheaper write.
    uint256 private _lock = OPEN;

    modifier locked() {
        if (_lock == HELD) revert ReentrancyGuardReentrantCall();
        _lock = HELD;
        _;
        _lock = OPEN;
    }
}
