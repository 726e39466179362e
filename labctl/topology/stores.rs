//! That the databases of a site are enough for the engine that keeps the conversations, and that it is told nothing that it
//! does not have. What the engine is told in its own words is another room's business.

use super::file::FileConversation;
use super::nodes::Machines;
use super::problem::{Problem, ProblemKind, Problems};
use super::site::{Conversation, Memory, Role, StoreEngine};

/// Reports an engine without databases, with too few of them, or with a port of another one.
pub(super) fn check_store(
    given: &FileConversation,
    conversation: &Conversation,
    machines: &Machines<'_>,
    problems: &mut Problems,
) {
    let Some(at) = given.engine.given() else { return };
    let engine = at.value.0;
    if conversation.memory != Memory::Database {
        // A memory that could not be read may have been the right one.
        if !given.memory.is_broken() && machines.whole {
            let kind = ProblemKind::EngineWithoutDatabase(engine.word());
            let help = "remove it, or keep the conversations in nodes of role db: `memory: database`";
            let problem = Problem::new(kind, &at.span).help(help);
            problems.push(match given.memory.given() {
                Some(memory) => problem.also(&memory.span, "where they are kept"),
                None => problem,
            });
        }
        return;
    }
    let databases = machines.of(Role::Db).count();
    if (1..engine.members_min()).contains(&databases) && machines.whole {
        let kind = ProblemKind::TooFewDatabases(engine.word(), engine.members_min(), databases);
        let help = "add nodes of role db: three survive the loss of one, five that of two";
        problems.push(Problem::new(kind, &at.span).help(help));
    }
    if let Some(port) = given.db_port.given().filter(|_| engine != StoreEngine::Embedded) {
        let problem = Problem::new(ProblemKind::PortOfEmbedded(engine.word()), &port.span);
        problems.push(problem.help("remove it").also(&at.span, "the engine"));
    }
}
