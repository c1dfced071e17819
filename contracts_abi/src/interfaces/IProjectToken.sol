// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title What the ledger asks of a project's token.
interface IProjectToken {
    function transfer(address to, uint256 value) external returns (bool);

    function transferFrom(address from, address to, uint256 value) external returns (bool);

    function mintMinerReward(address miner, uint256 amount) external;

    function burnFromLedger(uint256 amount) external;
}
