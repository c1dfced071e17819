// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {IMarket} from "./IMarket.sol";

struct SubmissionNode {
    bytes32 root;
    uint256 height;
}

struct SubmissionData {
    uint256 length;
    bytes tags;
    SubmissionNode[] nodes;
}

struct Submission {
    SubmissionData data;
    address submitter;
}

/// @title The Flow of a local storage network: one append-only array of sectors of 256 bytes.
/// @dev Interface, event, fee rule, validity rules and positions of 0G Storage. Left out: the incremental
///      tree over the whole flow (so unstagedHeight stays 0 and there are no flow roots), epochs and pausing.
contract Flow {
    error NotEnoughFee(uint256 price, uint256 amount, uint256 paid);

    event Submit(
        address indexed sender,
        bytes32 indexed identity,
        uint256 submissionIndex,
        uint256 startPos,
        uint256 length,
        SubmissionData submission
    );

    uint256 private constant SECTOR_BYTES = 256;
    uint256 private constant SEGMENT_SECTORS = 1024;
    /// @dev A file is at most four perfect trees over at most four neighbouring heights.
    uint256 private constant HEIGHT_SPREAD = 4;
    uint256 private constant HEIGHT_LIMIT = 64;
    bool public constant paused = false;

    address public immutable market;
    uint256 public submissionIndex;

    /// @dev Sector 0 of the flow is reserved.
    uint256 private _cursor = 1;

    constructor(address market_) {
        market = market_;
    }

    function submit(Submission calldata submission)
        external
        payable
        returns (uint256 index, bytes32 digest, uint256 startIndex, uint256 length)
    {
        return _submit(submission);
    }

    function batchSubmit(Submission[] calldata submissions)
        external
        payable
        returns (
            uint256[] memory indexes,
            bytes32[] memory digests,
            uint256[] memory startIndexes,
            uint256[] memory lengths
        )
    {
        uint256 count = submissions.length;
        indexes = new uint256[](count);
        digests = new bytes32[](count);
        startIndexes = new uint256[](count);
        lengths = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            (indexes[i], digests[i], startIndexes[i], lengths[i]) = _submit(submissions[i]);
        }
    }

    function numSubmissions() external view returns (uint256) {
        return submissionIndex;
    }

    function tree() external view returns (uint256 currentLength, uint256 unstagedHeight) {
        return (_cursor, 0);
    }

    function _submit(Submission calldata submission)
        private
        returns (uint256 index, bytes32 digest, uint256 startIndex, uint256 length)
    {
        SubmissionData calldata data = submission.data;
        require(submission.submitter != address(0) && _valid(data), "Invalid submission");
        length = _sectors(data.nodes);
        _charge(length);
        index = submissionIndex++;
        startIndex = _place(data.nodes, length);
        digest = _identity(data.nodes);
        emit Submit(submission.submitter, digest, index, startIndex, length, data);
    }

    /// @dev Rising heights end in the Panic of the subtraction, everything else in a plain false.
    function _valid(SubmissionData calldata data) private pure returns (bool) {
        SubmissionNode[] calldata nodes = data.nodes;
        if (nodes.length == 0) return false;
        uint256 highest = nodes[0].height;
        if (highest - nodes[nodes.length - 1].height >= HEIGHT_SPREAD) return false;
        if (highest >= HEIGHT_LIMIT) return false;
        for (uint256 i = 1; i < nodes.length; ++i) {
            if (nodes[i].height >= nodes[i - 1].height) return false;
        }
        uint256 capacity = _sectors(nodes);
        return data.length <= capacity * SECTOR_BYTES
            && data.length > _tooSmall(nodes, capacity) * SECTOR_BYTES;
    }

    /// @return Sectors for which a smaller set of trees would do: padding is at most about a sixteenth.
    function _tooSmall(SubmissionNode[] calldata nodes, uint256 capacity) private pure returns (uint256) {
        if (capacity < 16) return capacity - 1;
        if (nodes.length == 1) return capacity - capacity / 16;
        return capacity - (uint256(1) << (nodes[0].height - 3));
    }

    function _sectors(SubmissionNode[] calldata nodes) private pure returns (uint256 total) {
        for (uint256 i = 0; i < nodes.length; ++i) {
            total += uint256(1) << nodes[i].height;
        }
    }

    /// @dev The whole balance counts, so what one submission overpaid can pay for a later one.
    function _charge(uint256 sectors) private {
        uint256 price = IMarket(market).pricePerSector();
        uint256 fee = sectors * price;
        if (fee > address(this).balance) revert NotEnoughFee(price, sectors, address(this).balance);
        IMarket(market).collect{value: fee}();
    }

    /// @dev A file that fits one segment of the flow never crosses a segment's border; a longer one starts
    ///      at one.
    function _place(SubmissionNode[] calldata nodes, uint256 total) private returns (uint256 startPos) {
        uint256 cursor = _cursor;
        uint256 start = _align(cursor, nodes[0].height);
        uint256 offset = start % SEGMENT_SECTORS;
        if (offset != 0 && start / SEGMENT_SECTORS != (start + total - 1) / SEGMENT_SECTORS) {
            cursor = start + SEGMENT_SECTORS - offset;
        }
        for (uint256 i = 0; i < nodes.length; ++i) {
            uint256 position = _align(cursor, nodes[i].height);
            if (i == 0) startPos = position;
            cursor = position + (uint256(1) << nodes[i].height);
        }
        _cursor = cursor;
    }

    function _align(uint256 position, uint256 height) private pure returns (uint256) {
        uint256 size = uint256(1) << height;
        return (position + size - 1) / size * size;
    }

    function _identity(SubmissionNode[] calldata nodes) private pure returns (bytes32) {
        bytes memory roots;
        for (uint256 i = 0; i < nodes.length; ++i) {
            roots = bytes.concat(roots, nodes[i].root);
        }
        return keccak256(roots);
    }
}
