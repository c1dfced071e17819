// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title What the Flow asks of its fee market.
interface IMarket {
    function pricePerSector() external view returns (uint256);

    function collect() external payable;
}
