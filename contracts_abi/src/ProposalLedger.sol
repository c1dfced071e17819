// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {IProjectRegistry} from "./interfaces/IProjectRegistry.sol";
import {IProjectToken} from "./interfaces/IProjectToken.sol";
import {IProposalLedger} from "./interfaces/IProposalLedger.sol";
import {IVerifierRegistry} from "./interfaces/IVerifierRegistry.sol";
import {ReentrancyLock} from "./ReentrancyLock.sol";

/// @title Proposals, their stakes, their reviews and the credits that slashing leaves.
/// @dev submit -> claimReview -> approve | reject, or expire by anyone after the window. At exactly the lock's
///      end deciding is over and releasing begins; at exactly the window's end expiring begins.
contract ProposalLedger is IProposalLedger, ReentrancyLock {
    error ExpiryNotReached();
    error LockActive();
    error LockExpired();
    error NotVerifier();
    error NothingToClaim();
    error RegistryZero();
    error SafeERC20FailedOperation(address token);
    error ScoreNotImproved();
    error UnknownProject();
    error UnknownProposal();
    error VerifierRegistryZero();
    error WrongReviewer();
    error WrongStatus();
    error ZeroStake();

    event ProposalApproved(
        uint256 indexed id, address indexed verifier, int256 verifiedAggregateScore, bytes32 metricsHash
    );
    event ProposalExpired(uint256 indexed id, address indexed cranker);
    event ProposalRejected(uint256 indexed id, address indexed verifier, bytes32 metricsHash);
    event ProposalSubmitted(
        uint256 indexed id,
        uint256 indexed projectId,
        address indexed miner,
        address rewardRecipient,
        bytes32 codeHash,
        int256 claimedAggregateScore,
        uint256 stake
    );
    event ReviewClaimed(uint256 indexed id, address indexed verifier, uint64 reviewLockUntil);
    event ReviewReleased(uint256 indexed id);
    event RewardClaimed(uint256 indexed projectId, address indexed account, uint256 amount);
    event StakeSlashed(
        uint256 indexed id, address indexed beneficiary, uint256 toVerifierPool, uint256 burned
    );

    uint64 public constant REVIEW_LOCK = 1 days;
    uint64 public constant EXPIRY_WINDOW = 7 days;
    uint16 public constant BPS_DENOMINATOR = 10_000;
    uint16 public constant SLASH_BPS_TO_BURN = 5_000;
    uint16 public constant SLASH_BPS_TO_VERIFIER_POOL = 5_000;

    IProjectRegistry public immutable registry;
    IVerifierRegistry public immutable verifierRegistry;

    uint256 public nextProposalId;
    mapping(uint256 => mapping(address => uint256)) public claimable;

    mapping(uint256 => Proposal) private _proposals;

    modifier onlyVerifier() {
        if (!verifierRegistry.isVerifier(msg.sender)) revert NotVerifier();
        _;
    }

    constructor(address registry_, address verifierRegistry_) {
        if (registry_ == address(0)) revert RegistryZero();
        if (verifierRegistry_ == address(0)) revert VerifierRegistryZero();
        registry = IProjectRegistry(registry_);
        verifierRegistry = IVerifierRegistry(verifierRegistry_);
    }

    function submit(
        uint256 projectId,
        bytes32 codeHash,
        bytes32 benchmarkLogHash,
        int256 claimedAggregateScore,
        uint256 stake,
        address rewardRecipient
    ) external locked returns (uint256 proposalId) {
        if (stake == 0) revert ZeroStake();
        address token = registry.tokenOf(projectId);
        if (token == address(0)) revert UnknownProject();
        address recipient = rewardRecipient == address(0) ? msg.sender : rewardRecipient;

        proposalId = nextProposalId++;
        Proposal storage p = _proposals[proposalId];
        p.projectId = projectId;
        p.miner = msg.sender;
        p.rewardRecipient = recipient;
        p.codeHash = codeHash;
        p.benchmarkLogHash = benchmarkLogHash;
        p.claimedAggregateScore = claimedAggregateScore;
        p.stake = stake;
        p.submittedAt = uint64(block.timestamp);

        _move(token, abi.encodeCall(IProjectToken.transferFrom, (msg.sender, address(this), stake)));
        emit ProposalSubmitted(
            proposalId, projectId, msg.sender, recipient, codeHash, claimedAggregateScore, stake
        );
    }

    function claimReview(uint256 proposalId) external onlyVerifier {
        Proposal storage p = _known(proposalId);
        if (p.status != Status.Submitted) revert WrongStatus();
        uint64 until = uint64(block.timestamp) + REVIEW_LOCK;
        p.status = Status.Reviewing;
        p.reviewer = msg.sender;
        p.reviewLockUntil = until;
        emit ReviewClaimed(proposalId, msg.sender, until);
    }

    function releaseReview(uint256 proposalId) external {
        Proposal storage p = _known(proposalId);
        if (p.status != Status.Reviewing) revert WrongStatus();
        if (block.timestamp < p.reviewLockUntil) revert LockActive();
        p.status = Status.Submitted;
        p.reviewer = address(0);
        p.reviewLockUntil = 0;
        emit ReviewReleased(proposalId);
    }

    // In approve and reject the verifier check stands before the lock: its refusal wins over re-entrancy's.
    function approve(uint256 proposalId, int256 verifiedAggregateScore, bytes32 metricsHash)
        external
        onlyVerifier
        locked
    {
        Proposal storage p = _decidable(proposalId);
        if (verifiedAggregateScore <= registry.currentBestAggregateScore(p.projectId)) {
            revert ScoreNotImproved();
        }
        p.status = Status.Approved;
        p.verifiedAggregateScore = verifiedAggregateScore;
        p.metricsHash = metricsHash;

        registry.updateBest(p.projectId, p.miner, verifiedAggregateScore, p.codeHash, metricsHash);
        address token = registry.tokenOf(p.projectId);
        _move(token, abi.encodeCall(IProjectToken.transfer, (p.miner, p.stake)));
        IProjectToken(token).mintMinerReward(p.rewardRecipient, p.stake);
        emit ProposalApproved(proposalId, msg.sender, verifiedAggregateScore, metricsHash);
    }

    function reject(uint256 proposalId, bytes32 metricsHash) external onlyVerifier locked {
        Proposal storage p = _decidable(proposalId);
        p.status = Status.Rejected;
        p.metricsHash = metricsHash;
        _slash(proposalId, p, msg.sender);
        emit ProposalRejected(proposalId, msg.sender, metricsHash);
    }

    function expire(uint256 proposalId) external locked {
        Proposal storage p = _known(proposalId);
        if (p.status != Status.Submitted && p.status != Status.Reviewing) revert WrongStatus();
        if (block.timestamp < p.submittedAt + EXPIRY_WINDOW) revert ExpiryNotReached();
        p.status = Status.Expired;
        _slash(proposalId, p, msg.sender);
        emit ProposalExpired(proposalId, msg.sender);
    }

    function claimReward(uint256 projectId) external locked returns (uint256 amount) {
        amount = claimable[projectId][msg.sender];
        if (amount == 0) revert NothingToClaim();
        claimable[projectId][msg.sender] = 0;
        _move(registry.tokenOf(projectId), abi.encodeCall(IProjectToken.transfer, (msg.sender, amount)));
        emit RewardClaimed(projectId, msg.sender, amount);
    }

    function getProposal(uint256 proposalId) external view returns (Proposal memory) {
        return _proposals[proposalId];
    }

    function _known(uint256 proposalId) private view returns (Proposal storage) {
        if (proposalId >= nextProposalId) revert UnknownProposal();
        return _proposals[proposalId];
    }

    /// @return p A proposal that the caller may settle in this block.
    function _decidable(uint256 proposalId) private view returns (Proposal storage p) {
        p = _known(proposalId);
        if (p.status != Status.Reviewing) revert WrongStatus();
        if (p.reviewer != msg.sender) revert WrongReviewer();
        if (block.timestamp >= p.reviewLockUntil) revert LockExpired();
    }

    /// @dev The credit is rounded down and the rest is burned, so a stake of 1 is burned whole.
    function _slash(uint256 proposalId, Proposal storage p, address beneficiary) private {
        uint256 credit = p.stake * SLASH_BPS_TO_VERIFIER_POOL / BPS_DENOMINATOR;
        uint256 burned = p.stake - credit;
        claimable[p.projectId][beneficiary] += credit;
        IProjectToken(registry.tokenOf(p.projectId)).burnFromLedger(burned);
        emit StakeSlashed(proposalId, beneficiary, credit, burned);
    }

    /// @dev Moves tokens, handing on the token's own revert data. A token that answers false, or an address
    ///      without code, is a failed operation.
    function _move(address token, bytes memory call) private {
        (bool done, bytes memory answer) = token.call(call);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        bool moved = answer.length == 0 ? token.code.length != 0 : abi.decode(answer, (uint256)) == 1;
        if (!moved) revert SafeERC20FailedOperation(token);
    }
}
