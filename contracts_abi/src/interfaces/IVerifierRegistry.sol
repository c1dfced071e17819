// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title What the ledger asks of the allow-list.
interface IVerifierRegistry {
    function isVerifier(address account) external view returns (bool);
}
