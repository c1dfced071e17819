// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title An account made of code: it forwards calls, and reacts to payments as it was told.
contract Actor {
    enum Mood {
        Accept,
        Refuse,
        Swallow,
        Propagate
    }

    Mood public mood;
    address public target;
    bytes public plan;
    bytes public look;

    uint256 public payments;
    bool public planWorked;
    bytes public planAnswer;
    bytes public lookAnswer;

    /// @param plan_ Call to make during a payment: its failure is swallowed or propagated.
    /// @param look_ Second call, whose answer is kept: what the world looked like at that moment.
    function prepare(Mood mood_, address target_, bytes calldata plan_, bytes calldata look_) external {
        mood = mood_;
        target = target_;
        plan = plan_;
        look = look_;
    }

    function execute(address to, uint256 value, bytes calldata data) external payable returns (bytes memory) {
        return _call(to, value, data);
    }

    receive() external payable {
        if (mood == Mood.Refuse) revert("NO_THANKS");
        payments += 1;
        if (look.length != 0) (, lookAnswer) = target.staticcall(look);
        if (mood == Mood.Swallow) (planWorked, planAnswer) = target.call(plan);
        if (mood == Mood.Propagate) _call(target, 0, plan);
    }

    function _call(address to, uint256 value, bytes memory data) private returns (bytes memory) {
        (bool done, bytes memory answer) = to.call{value: value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }
}
