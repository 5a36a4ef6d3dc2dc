//! Why something ended early: one enum, one counter for each variant, one word in each record.

/// Declares an enum whose variants carry the name and the sentence under which operators meet them.
macro_rules! named {
    ($(#[$meta:meta])* $type:ident { $($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $type { $($(#[doc = $help])+ $variant,)+ }

        impl $type {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many variants there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in counters and records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
            /// What it means, in a sentence.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help,)+),)+ }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Why a frame ended before it reached its purpose. Shadows the trait of that name on purpose: whoever implements the
    /// trait writes `std::ops::Drop`.
    Drop {
        // Ethernet.
        /// Shorter than its own headers say.
        Runt = "runt",
        /// The headers are spread over several buffers.
        HeadersSplit = "headers_split",
        /// The destination is not one of our hardware addresses or groups.
        NotOurHardwareAddress = "not_our_hardware_address",
        /// The source address is a group, zero, or ours.
        HardwareSource = "hardware_source",
        /// The VLAN is not configured on this port.
        UnknownVlan = "unknown_vlan",
        /// A second VLAN tag.
        StackedVlan = "stacked_vlan",
        /// Neither IPv4, IPv6 nor ARP.
        EtherType = "ether_type",
        /// The family has no address on the interface.
        FamilyNotConfigured = "family_not_configured",

        // ARP and neighbour discovery.
        /// Fields that RFC 826 does not allow for IPv4 over Ethernet.
        ArpMalformed = "arp_malformed",
        /// Not about an address of ours nor from a neighbour that we know.
        ArpNotForUs = "arp_not_for_us",
        /// Another host claims one of our addresses.
        AddressConflict = "address_conflict",
        /// Fails a check of RFC 4861 section 6.1, 7.1 or 8.1.
        NdMalformed = "nd_malformed",
        /// Neighbour discovery about a target that is not ours, or from a neighbour that we do not know.
        NdNotForUs = "nd_not_for_us",
        /// Router discovery and redirects: routes are static here.
        NdIgnored = "nd_ignored",

        // IPv4.
        /// Version, header length or total length do not fit the frame.
        Ipv4Malformed = "ipv4_malformed",
        /// The header's checksum is wrong.
        Ipv4Checksum = "ipv4_checksum",
        /// A malformed option list.
        Ipv4Options = "ipv4_options",
        /// A source route (refused, RFC 7126 section 4).
        Ipv4SourceRoute = "ipv4_source_route",
        /// A fragment: refused, see ARCHITECTURE.md.
        Ipv4Fragment = "ipv4_fragment",

        // IPv6.
        /// Version or payload length do not fit the frame.
        Ipv6Malformed = "ipv6_malformed",
        /// More or longer extension headers or options than we walk.
        Ipv6ExtensionLimit = "ipv6_extension_limit",
        /// An extension header that does not fit, or stands where it may not.
        Ipv6Extension = "ipv6_extension",
        /// An option that asks for the packet to be discarded.
        Ipv6Option = "ipv6_option",
        /// A routing header with segments left.
        Ipv6Routing = "ipv6_routing",
        /// A fragment: refused, see ARCHITECTURE.md.
        Ipv6Fragment = "ipv6_fragment",
        /// Nothing after the headers (next header 59).
        Ipv6NoNextHeader = "ipv6_no_next_header",

        // Both.
        /// A source that no host may have: a group, loopback, unspecified, or one of our own (LAND).
        MartianSource = "martian_source",
        /// A destination that is not ours; we do not forward packets.
        NotForUs = "not_for_us",
        /// A broadcast or multicast packet that nobody here listens to.
        GroupIgnored = "group_ignored",
        /// A unicast packet in a broadcast or multicast frame (RFC 1122 section 3.3.6).
        UnicastInGroupFrame = "unicast_in_group_frame",

        // ICMP.
        /// Shorter than its type asks for.
        IcmpMalformed = "icmp_malformed",
        /// The checksum is wrong.
        IcmpChecksum = "icmp_checksum",
        /// A type that a gateway has no use for.
        IcmpIgnored = "icmp_ignored",
        /// An error about a packet that we cannot have sent.
        IcmpErrorQuote = "icmp_error_quote",
        /// An error about a flow that does not exist.
        IcmpErrorNoFlow = "icmp_error_no_flow",

        // Transport.
        /// The header does not fit.
        TransportMalformed = "transport_malformed",
        /// The checksum is wrong.
        TransportChecksum = "transport_checksum",
        /// The checksum was left half-made: the peer's transmit offload is on over a virtual link (`ethtool -K IF tx off`).
        TransportChecksumPartial = "transport_checksum_partial",
        /// Nobody listens on this TCP port.
        TcpNoListener = "tcp_no_listener",
        /// A TCP option whose length cannot be.
        TcpOptionsMalformed = "tcp_options_malformed",
        /// Flags that make no sense in the connection's state.
        TcpFlags = "tcp_flags",
        /// Numbers that were not to come now.
        TcpOutOfWindow = "tcp_out_of_window",
        /// Nothing that had not come before.
        TcpDuplicate = "tcp_duplicate",
        /// A timestamp older than one that was seen (PAWS).
        TcpPaws = "tcp_paws",
        /// No timestamp where timestamps were agreed.
        TcpTimestampMissing = "tcp_timestamp_missing",
        /// A reset that is not at exactly the next number, or of nothing.
        TcpResetUnacceptable = "tcp_reset_unacceptable",
        /// A SYN inside a connection.
        TcpSynInWindow = "tcp_syn_in_window",
        /// Acknowledges what was never sent, or was acknowledged long ago.
        TcpAckUnacceptable = "tcp_ack_unacceptable",
        /// Data after its sender's FIN.
        TcpDataAfterFin = "tcp_data_after_fin",
        /// Data for an application that has closed for good.
        TcpDataAfterClose = "tcp_data_after_close",
        /// Of a connection in TIME-WAIT.
        TcpTimeWait = "tcp_time_wait",
        /// There are as many connections as can be.
        TcpConnectionsFull = "tcp_connections_full",
        /// TCP data that came when the worker's frames were short; it comes again.
        TcpPressure = "tcp_pressure",
        /// No frame could be had to copy to.
        TcpNoFrame = "tcp_no_frame",
        /// Out-of-order TCP data with more holes before it than a connection may have.
        TcpReassemblyRuns = "tcp_reassembly_runs",
        /// Out-of-order TCP data beyond what a worker may hold for all its connections, in frames or in bytes.
        TcpReassemblyFull = "tcp_reassembly_full",
        /// Out-of-order TCP data that was held and given up: for data that comes before it, for want of a frame, or with its connection.
        TcpReassemblyGivenUp = "tcp_reassembly_given_up",
        /// TCP data behind the peer's FIN, or a FIN before data that has arrived.
        TcpAfterFin = "tcp_after_fin",
        /// Nobody listens on this UDP port.
        UdpNoListener = "udp_no_listener",
        /// Nobody speaks this protocol.
        ProtocolUnknown = "protocol_unknown",

        // Output.
        /// No route to the destination.
        NoRoute = "no_route",
        /// Longer than the interface's MTU.
        TooLong = "too_long",
        /// In several segments, which the port cannot send.
        SegmentsUnsupported = "segments_unsupported",
        /// No answer to our ARP or neighbour solicitations.
        NeighborUnreachable = "neighbor_unreachable",
        /// Too many frames wait for this neighbour, or for all.
        NeighborPendingFull = "neighbor_pending_full",
        /// Too many new neighbours were to be asked for in one second.
        NeighborAskLimited = "neighbor_ask_limited",
        /// Made room for another neighbour that is being asked for.
        NeighborEvicted = "neighbor_evicted",
        /// The port takes no more and the backlog is full.
        TxBacklogFull = "tx_backlog_full",
        /// The data plane stopped while the frame waited.
        Stopping = "stopping",

        // HTTP and what is passed on.
        /// Bytes for or from a connection that is over, or that nobody wants any more.
        ExchangeOver = "exchange_over",
    }
}

#[cfg(test)]
mod tests {
    use super::Drop;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sentences_end() {
        let names: BTreeSet<_> = Drop::ALL.iter().map(|d| d.name()).collect();
        assert_eq!(names.len(), Drop::COUNT);
        for drop in Drop::ALL {
            assert!(drop.help().trim().ends_with('.'), "{}", drop.name());
            assert!(drop.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }
    }
}
