// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {Curve} from "./Curve.sol";
import {IProjectToken} from "./interfaces/IProjectToken.sol";
import {ReentrancyLock} from "./ReentrancyLock.sol";

/// @title A project's token: whole units only, sold and bought back by itself along a linear price curve.
/// @dev The reserve (the native balance) is never consulted before a payout. Rewards minted for miners and
///      stakes burned by the ledger move the supply, and so the price, without moving the reserve.
contract ProjectToken is IProjectToken, ReentrancyLock {
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InvalidApprover(address approver);
    error ERC20InvalidReceiver(address receiver);
    error ERC20InvalidSender(address sender);
    error ERC20InvalidSpender(address spender);
    error EthPayoutFailed();
    error EthRefundFailed();
    error InsufficientPayment();
    error NotLedger();
    error OverSupply();
    error PoolCapExceeded();
    error ZeroAmount();

    event Approval(address indexed owner, address indexed spender, uint256 value);
    event Bought(address indexed buyer, uint256 ethSpent, uint256 tokensOut);
    event LedgerBurned(uint256 amount);
    event MinerRewardMinted(address indexed miner, uint256 amount);
    event Sold(address indexed seller, uint256 tokensIn, uint256 ethOut);
    event Transfer(address indexed from, address indexed to, uint256 value);

    uint256 public immutable basePrice;
    uint256 public immutable slope;
    uint256 public immutable minerPoolCap;
    address public immutable proposalLedger;

    string public name;
    string public symbol;
    uint256 public totalSupply;
    uint256 public minerPoolMinted;

    mapping(address => uint256) private _balances;
    mapping(address => mapping(address => uint256)) private _allowances;

    modifier onlyLedger() {
        if (msg.sender != proposalLedger) revert NotLedger();
        _;
    }

    constructor(
        string memory name_,
        string memory symbol_,
        uint256 basePrice_,
        uint256 slope_,
        uint256 minerPoolCap_,
        address proposalLedger_
    ) {
        name = name_;
        symbol = symbol_;
        basePrice = basePrice_;
        slope = slope_;
        minerPoolCap = minerPoolCap_;
        proposalLedger = proposalLedger_;
    }

    // ---- the curve

    function buy() external payable locked returns (uint256 tokensOut) {
        if (msg.value == 0) revert ZeroAmount();
        tokensOut = quoteBuy(msg.value);
        if (tokensOut == 0) revert InsufficientPayment();
        uint256 cost = costBetween(totalSupply, totalSupply + tokensOut);
        _mint(msg.sender, tokensOut);
        if (msg.value > cost && !_pay(msg.sender, msg.value - cost)) revert EthRefundFailed();
        emit Bought(msg.sender, cost, tokensOut);
    }

    function sell(uint256 amount) external locked returns (uint256 ethOut) {
        if (amount == 0) revert ZeroAmount();
        ethOut = quoteSell(amount);
        _burn(msg.sender, amount);
        if (!_pay(msg.sender, ethOut)) revert EthPayoutFailed();
        emit Sold(msg.sender, amount, ethOut);
    }

    function quoteBuy(uint256 ethIn) public view returns (uint256 tokensOut) {
        return Curve.affordable(basePrice, slope, totalSupply, ethIn);
    }

    function quoteSell(uint256 tokensIn) public view returns (uint256 ethOut) {
        if (tokensIn > totalSupply) revert OverSupply();
        return costBetween(totalSupply - tokensIn, totalSupply);
    }

    function costBetween(uint256 from, uint256 to) public view returns (uint256) {
        require(to >= from, "BAD_RANGE");
        return Curve.cost(basePrice, slope, from, to);
    }

    function priceAt(uint256 supply) external view returns (uint256) {
        return basePrice + slope * supply;
    }

    // ---- what only the ledger may do

    function mintMinerReward(address miner, uint256 amount) external onlyLedger {
        uint256 minted = minerPoolMinted + amount;
        if (minted > minerPoolCap) revert PoolCapExceeded();
        minerPoolMinted = minted;
        _mint(miner, amount);
        emit MinerRewardMinted(miner, amount);
    }

    function burnFromLedger(uint256 amount) external onlyLedger {
        _burn(msg.sender, amount);
        emit LedgerBurned(amount);
    }

    // ---- ERC-20

    function decimals() external pure returns (uint8) {
        return 0;
    }

    function balanceOf(address account) external view returns (uint256) {
        return _balances[account];
    }

    function allowance(address owner, address spender) external view returns (uint256) {
        return _allowances[owner][spender];
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _transfer(msg.sender, to, value);
        return true;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        if (msg.sender == address(0)) revert ERC20InvalidApprover(address(0));
        if (spender == address(0)) revert ERC20InvalidSpender(address(0));
        _allowances[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        _spendAllowance(from, msg.sender, value);
        _transfer(from, to, value);
        return true;
    }

    /// @dev An allowance of 2^256 - 1 stays as it is, and spending never emits Approval.
    function _spendAllowance(address owner, address spender, uint256 value) private {
        uint256 current = _allowances[owner][spender];
        if (current == type(uint256).max) return;
        if (current < value) revert ERC20InsufficientAllowance(spender, current, value);
        if (owner == address(0)) revert ERC20InvalidApprover(address(0));
        if (spender == address(0)) revert ERC20InvalidSpender(address(0));
        unchecked {
            _allowances[owner][spender] = current - value;
        }
    }

    function _transfer(address from, address to, uint256 value) private {
        if (from == address(0)) revert ERC20InvalidSender(address(0));
        if (to == address(0)) revert ERC20InvalidReceiver(address(0));
        _debit(from, value);
        unchecked {
            // No balance exceeds the supply, which is itself checked when tokens are made.
            _balances[to] += value;
        }
        emit Transfer(from, to, value);
    }

    function _mint(address to, uint256 value) private {
        if (to == address(0)) revert ERC20InvalidReceiver(address(0));
        totalSupply += value;
        unchecked {
            _balances[to] += value;
        }
        emit Transfer(address(0), to, value);
    }

    function _burn(address from, uint256 value) private {
        if (from == address(0)) revert ERC20InvalidSender(address(0));
        _debit(from, value);
        unchecked {
            totalSupply -= value;
        }
        emit Transfer(from, address(0), value);
    }

    function _debit(address from, uint256 value) private {
        uint256 balance = _balances[from];
        if (balance < value) revert ERC20InsufficientBalance(from, balance, value);
        unchecked {
            _balances[from] = balance - value;
        }
    }

    /// @dev A plain call with all gas left; false when the receiver refuses or the reserve is too small.
    function _pay(address to, uint256 amount) private returns (bool paid) {
        (paid,) = to.call{value: amount}("");
    }
}
