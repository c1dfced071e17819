// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {IProjectRegistry} from "./interfaces/IProjectRegistry.sol";
import {ProjectToken} from "./ProjectToken.sol";

/// @title The list of projects, each with its token and its best accepted score.
/// @dev Nothing about a new project is checked, and unknown ids read as zeros. Scores only ever rise.
contract ProjectRegistry is IProjectRegistry {
    error LedgerZero();
    error NotLedger();
    error ScoreNotImproved();
    error UnknownProject();

    event BestUpdated(
        uint256 indexed projectId,
        address indexed miner,
        int256 newAggregateScore,
        bytes32 codeHash,
        bytes32 metricsHash
    );
    event ProjectCreated(
        uint256 indexed projectId, address indexed creator, address token, bytes32 protocolHash
    );

    address public immutable proposalLedger;
    uint256 public nextProjectId;

    mapping(uint256 => Project) private _projects;

    constructor(address proposalLedger_) {
        if (proposalLedger_ == address(0)) revert LedgerZero();
        proposalLedger = proposalLedger_;
    }

    function createProject(
        bytes32 protocolHash,
        bytes32 repoSnapshotHash,
        bytes32 benchmarkHash,
        int256 baselineAggregateScore,
        bytes32 baselineMetricsHash,
        string calldata tokenName,
        string calldata tokenSymbol,
        uint256 basePrice,
        uint256 slope,
        uint256 minerPoolCap
    ) external returns (uint256 projectId, address tokenAddr) {
        projectId = nextProjectId++;
        // Plain CREATE: the token of project n has the address of this contract's nonce n + 1.
        tokenAddr = address(
            new ProjectToken(tokenName, tokenSymbol, basePrice, slope, minerPoolCap, proposalLedger)
        );
        Project storage project = _projects[projectId];
        project.protocolHash = protocolHash;
        project.repoSnapshotHash = repoSnapshotHash;
        project.benchmarkHash = benchmarkHash;
        project.baselineAggregateScore = baselineAggregateScore;
        project.baselineMetricsHash = baselineMetricsHash;
        project.currentBestAggregateScore = baselineAggregateScore;
        project.currentBestMetricsHash = baselineMetricsHash;
        project.token = tokenAddr;
        project.creator = msg.sender;
        project.createdAt = uint64(block.timestamp);
        emit ProjectCreated(projectId, msg.sender, tokenAddr, protocolHash);
    }

    function updateBest(
        uint256 projectId,
        address miner,
        int256 newAggregateScore,
        bytes32 newCodeHash,
        bytes32 newMetricsHash
    ) external {
        if (msg.sender != proposalLedger) revert NotLedger();
        Project storage project = _projects[projectId];
        if (project.token == address(0)) revert UnknownProject();
        if (newAggregateScore <= project.currentBestAggregateScore) revert ScoreNotImproved();
        project.currentBestCodeHash = newCodeHash;
        project.currentBestAggregateScore = newAggregateScore;
        project.currentBestMetricsHash = newMetricsHash;
        project.currentBestMiner = miner;
        emit BestUpdated(projectId, miner, newAggregateScore, newCodeHash, newMetricsHash);
    }

    function getProject(uint256 projectId) external view returns (Project memory) {
        return _projects[projectId];
    }

    function tokenOf(uint256 projectId) external view returns (address) {
        return _projects[projectId].token;
    }

    function currentBestAggregateScore(uint256 projectId) external view returns (int256) {
        return _projects[projectId].currentBestAggregateScore;
    }
}
