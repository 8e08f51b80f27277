//! What the node does for the methods about the devices of the account.

use data_encoding::BASE64;
use starling_control::{Error, Serve, methods::devices, objects};
use starling_keys::{DeviceChain, DeviceId};
use starling_node::Node;

use super::{convert, session::Session};
use crate::error::CliError;

/// A device of ours, by the beginning of its id.
pub(super) async fn device(node: &Node, wanted: &str) -> Result<DeviceId, CliError> {
    let devices = node.devices().await?;
    let fits: Vec<_> = devices.iter().map(|d| d.id).filter(|d| d.to_string().starts_with(wanted)).collect();
    match fits.as_slice() {
        [one] if !wanted.is_empty() => Ok(*one),
        [] => {
            Err(CliError::not_found(format!("the account has no device {}", wanted)).hint("see `starling device list`"))
        }
        _ => Err(CliError::usage("several devices begin like that")
            .hint("give more of its id: see `starling device list --json`")),
    }
}

impl Serve<devices::List> for Session {
    async fn serve(&self, _: devices::List) -> Result<Vec<objects::Device>, Error> {
        Ok(self.served.node.devices().await.map_err(CliError::from)?.iter().map(convert::device).collect())
    }
}

impl Serve<devices::Link> for Session {
    async fn serve(&self, request: devices::Link) -> Result<devices::LinkCode, Error> {
        let code = self.served.node.open_device_code().await.map_err(CliError::from)?;
        self.holds_code(request.while_connected, &code);
        let homes = self.served.node.status().await.map_err(CliError::from)?.homes;
        Ok(devices::LinkCode { code, rendezvous: homes.into_iter().find(|h| h.own).map(|h| h.address) })
    }
}

impl Serve<devices::AnswerLink> for Session {
    async fn serve(&self, request: devices::AnswerLink) -> Result<devices::Answered, Error> {
        // One that asks is not on the list yet: the whole id is needed.
        let whole = request.device.as_str().parse();
        let id = whole.map_err(|_| CliError::usage("the whole id of the device that asks is needed"))?;
        let rights = request.rights.map(convert::node_rights);
        self.served.node.answer_link(id, rights, request.history == Some(true)).await.map_err(CliError::from)?;
        Ok(devices::Answered { device: request.device })
    }
}

impl Serve<devices::History> for Session {
    async fn serve(&self, _: devices::History) -> Result<objects::History, Error> {
        Ok(convert::history(&self.served.node.history_state().await.map_err(CliError::from)?))
    }
}

impl Serve<devices::GiveHistory> for Session {
    async fn serve(&self, request: devices::GiveHistory) -> Result<devices::Answered, Error> {
        let device = device(&self.served.node, request.device.as_str()).await?;
        self.served.node.give_history(device).await.map_err(CliError::from)?;
        Ok(devices::Answered { device: device.to_string().into() })
    }
}

impl Serve<devices::GetHistory> for Session {
    async fn serve(&self, request: devices::GetHistory) -> Result<devices::Answered, Error> {
        let node = &self.served.node;
        let from = match &request.device {
            Some(wanted) => Some(device(node, wanted.as_str()).await?),
            None => None,
        };
        let source = node.get_history(from).await.map_err(CliError::from)?;
        Ok(devices::Answered { device: source.to_string().into() })
    }
}

impl Serve<devices::SetRights> for Session {
    async fn serve(&self, request: devices::SetRights) -> Result<devices::Answered, Error> {
        let device = device(&self.served.node, request.device.as_str()).await?;
        self.served
            .node
            .set_device_rights(device, convert::node_rights(request.rights))
            .await
            .map_err(CliError::from)?;
        Ok(devices::Answered { device: device.to_string().into() })
    }
}

impl Serve<devices::Recovery> for Session {
    async fn serve(&self, _: devices::Recovery) -> Result<devices::ToRecover, Error> {
        let recovery = self.served.node.recovery().await.map_err(CliError::from)?;
        Ok(devices::ToRecover {
            chain: BASE64.encode(recovery.chain.as_bytes()),
            device: recovery.joining.device.to_string().into(),
            seal_key: BASE64.encode(&recovery.joining.seal_key),
            proof: BASE64.encode(&recovery.joining.proof),
        })
    }
}

impl Serve<devices::Recover> for Session {
    async fn serve(&self, request: devices::Recover) -> Result<devices::Answered, Error> {
        let bytes = BASE64.decode(request.chain.as_bytes()).ok();
        let chain = bytes.and_then(|bytes| DeviceChain::from_bytes(&bytes).ok());
        let chain = chain.ok_or_else(|| CliError::usage("this is no device chain"))?;
        self.served.node.recover(&chain).await.map_err(CliError::from)?;
        let status = self.served.node.status().await.map_err(CliError::from)?;
        Ok(devices::Answered { device: status.device.to_string().into() })
    }
}

impl Serve<devices::Remove> for Session {
    async fn serve(&self, request: devices::Remove) -> Result<devices::Removed, Error> {
        let device = device(&self.served.node, request.device.as_str()).await?;
        self.served.node.remove_device(device).await.map_err(CliError::from)?;
        Ok(devices::Removed { device: device.to_string().into() })
    }
}
