// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

/// @title A token that calls somebody back whenever it moves, and answers as it was told.
contract HookToken {
    enum Answer {
        True,
        False,
        Nothing
    }

    Answer public answer;
    address public target;
    bytes public plan;

    uint256 public hooks;
    bool public planWorked;
    bytes public planAnswer;

    function prepare(Answer answer_, address target_, bytes calldata plan_) external {
        answer = answer_;
        target = target_;
        plan = plan_;
    }

    function execute(address to, bytes calldata data) external {
        (bool done,) = to.call(data);
        require(done, "EXECUTE_FAILED");
    }

    function transfer(address, uint256) external {
        _act();
    }

    function transferFrom(address, address, uint256) external {
        _act();
    }

    function mintMinerReward(address, uint256) external {}

    function burnFromLedger(uint256) external {
        _hook();
    }

    function _act() private {
        _hook();
        if (answer == Answer.Nothing) return;
        uint256 word = answer == Answer.True ? 1 : 0;
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, 32)
        }
    }

    function _hook() private {
        hooks += 1;
        if (plan.length != 0) (planWorked, planAnswer) = target.call(plan);
    }
}
