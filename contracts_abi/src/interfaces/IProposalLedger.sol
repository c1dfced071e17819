// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title The proposal record and its states.
interface IProposalLedger {
    enum Status {
        Submitted,
        Reviewing,
        Approved,
        Rejected,
        Expired
    }

    struct Proposal {
        uint256 projectId;
        address miner;
        address rewardRecipient;
        bytes32 codeHash;
        bytes32 benchmarkLogHash;
        bytes32 metricsHash;
        int256 claimedAggregateScore;
        int256 verifiedAggregateScore;
        uint256 stake;
        uint64 submittedAt;
        uint64 reviewLockUntil;
        address reviewer;
        Status status;
    }

    function getProposal(uint256 proposalId) external view returns (Proposal memory);
}
