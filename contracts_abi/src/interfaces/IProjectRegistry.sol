// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title The project record, and what the ledger asks of the registry.
interface IProjectRegistry {
    struct Project {
        bytes32 protocolHash;
        bytes32 repoSnapshotHash;
        bytes32 benchmarkHash;
        int256 baselineAggregateScore;
        bytes32 baselineMetricsHash;
        bytes32 currentBestCodeHash;
        int256 currentBestAggregateScore;
        bytes32 currentBestMetricsHash;
        address currentBestMiner;
        address token;
        address creator;
        uint64 createdAt;
    }

    function tokenOf(uint256 projectId) external view returns (address);

    function currentBestAggregateScore(uint256 projectId) external view returns (int256);

    function updateBest(
        uint256 projectId,
        address miner,
        int256 newAggregateScore,
        bytes32 newCodeHash,
        bytes32 newMetricsHash
    ) external;
}
