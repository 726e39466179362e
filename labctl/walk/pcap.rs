//! A walk as a pcapng file for Wireshark and tcpdump: the frames as they were, each with the node and interface that it was
//! seen on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};

use super::conversation::Walk;
use super::record::Way;

/// Times are in units of 10 to the power of minus this, seconds.
const NANOSECONDS: u8 = 9;
/// Direction, in the lowest bits of a frame's flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A walk as a capture file, its times counted from the beginning of the capture.
pub fn pcap(walk: &Walk, neighbours: bool) -> Vec<u8> {
    written(walk, neighbours).expect("a buffer in memory takes every octet")
}

fn written(walk: &Walk, neighbours: bool) -> Result<Vec<u8>, PcapError> {
    let mut writer = PcapNgWriter::new(Vec::new())?;
    let frames: Vec<_> = walk.frames(neighbours).into_iter().map(|at| &walk.record.frames[at]).collect();
    let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
    for frame in &frames {
        if numbers.contains_key(&frame.interface) {
            continue;
        }
        numbers.insert(frame.interface, numbers.len() as u32);
        let interface = &walk.record.interfaces[frame.interface];
        let name = format!("{}:{}", interface.node, interface.name);
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        block.options.push(InterfaceDescriptionOption::IfName(name.into()));
        block.options.push(InterfaceDescriptionOption::IfTsResol(NANOSECONDS));
        writer.write_pcapng_block(block)?;
    }
    for frame in frames {
        let direction = if frame.way == Way::Out { OUTBOUND } else { INBOUND };
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: numbers[&frame.interface],
            timestamp: Duration::from_nanos(frame.at_ns),
            original_len: frame.bytes.len() as u32,
            data: Cow::Borrowed(&frame.bytes),
            options: vec![EnhancedPacketOption::Flags(direction)],
        })?;
    }
    Ok(writer.into_inner())
}
