// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.24;

import {IVerifierRegistry} from "./interfaces/IVerifierRegistry.sol";

/// @title The allow-list of accounts that may review proposals, kept by one owner.
/// @dev Removal moves the last entry into the gap, so list positions are not stable.
contract VerifierRegistry is IVerifierRegistry {
    error AlreadyRegistered();
    error NotRegistered();
    error OwnableInvalidOwner(address owner);
    error OwnableUnauthorizedAccount(address account);
    error ZeroAddress();

    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
    event VerifierAdded(address indexed v);
    event VerifierRemoved(address indexed v);

    address public owner;
    address[] public verifiers;
    mapping(address => bool) public isVerifier;

    mapping(address => uint256) private _position;

    modifier onlyOwner() {
        if (msg.sender != owner) revert OwnableUnauthorizedAccount(msg.sender);
        _;
    }

    constructor(address initialOwner) {
        if (initialOwner == address(0)) revert OwnableInvalidOwner(address(0));
        _setOwner(initialOwner);
    }

    function addVerifier(address v) external onlyOwner {
        if (v == address(0)) revert ZeroAddress();
        if (isVerifier[v]) revert AlreadyRegistered();
        isVerifier[v] = true;
        _position[v] = verifiers.length;
        verifiers.push(v);
        emit VerifierAdded(v);
    }

    function removeVerifier(address v) external onlyOwner {
        if (!isVerifier[v]) revert NotRegistered();
        uint256 gap = _position[v];
        address moved = verifiers[verifiers.length - 1];
        // When v is itself the last entry these two lines write what pop and delete take away again.
        verifiers[gap] = moved;
        _position[moved] = gap;
        verifiers.pop();
        delete _position[v];
        delete isVerifier[v];
        emit VerifierRemoved(v);
    }

    function transferOwnership(address newOwner) external onlyOwner {
        if (newOwner == address(0)) revert OwnableInvalidOwner(address(0));
        _setOwner(newOwner);
    }

    function renounceOwnership() external onlyOwner {
        _setOwner(address(0));
    }

    function verifierCount() external view returns (uint256) {
        return verifiers.length;
    }

    function _setOwner(address newOwner) private {
        address previous = owner;
        owner = newOwner;
        emit OwnershipTransferred(previous, newOwner);
    }
}
