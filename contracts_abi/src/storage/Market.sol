// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {IMarket} from "./IMarket.sol";

/// @title A fixed price in wei per sector of 256 bytes, and the place where charged fees end up.
/// @dev For local networks: the fees stay here, there is no reward pool behind it.
contract Market is IMarket {
    uint256 public immutable pricePerSector;

    constructor(uint256 pricePerSector_) {
        pricePerSector = pricePerSector_;
    }

    function collect() external payable {}
}
