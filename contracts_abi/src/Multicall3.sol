// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title Many calls in one, with the interface of the Multicall3 found on public networks (aggregate3 only).
/// @dev For local chains and tests; it holds nothing and may be called by anyone.
contract Multicall3 {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    /// @return results One per call, in order. A failure that is not allowed reverts the whole.
    function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success, bytes memory data) = calls[i].target.call(calls[i].callData);
            require(success || calls[i].allowFailure, "Multicall3: call failed");
            results[i] = Result(success, data);
        }
    }
}
